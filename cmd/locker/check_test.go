package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/golocker/locker/internal/redistest"
)

func TestCheckFiles(t *testing.T) {
	p := newPlace(t, "")
	r := p.run("check")
	r.want(t, 0, `".locker-check" taken in `, "")
	r.want(t, 0, "crash-safe", "")
	if r := p.run("check", "--quiet"); r != (result{}) {
		t.Errorf("%+v", r)
	}
}

// check names the permissions that are missing, and leaves nothing.
func TestCheckPermissions(t *testing.T) {
	s := redistest.Start(t)
	rules := []any{"on", ">password", "resetchannels", "~myapp:*", "~locker:session:*", "&myapp:*", "&locker:session:*", "+@all"}
	user := func(name string, more ...any) *place {
		name = strings.ReplaceAll(name, "|", "-")
		s.Do(append(append([]any{"ACL", "SETUSER", name}, rules...), more...)...)
		return newPlace(t, "redis://"+name+":password@"+s.Addr)
	}
	// Redis 6.2 can deny no subcommand, only not permit it.
	deny := func(permissions ...string) (rules []any) {
		for _, permission := range permissions {
			command, _, _ := strings.Cut(permission, "|")
			rules = append(rules, "-"+command)
			for _, p := range probes("") {
				if strings.HasPrefix(p.permission, command+"|") && !slices.Contains(permissions, p.permission) {
					rules = append(rules, "+"+p.permission)
				}
			}
		}
		return rules
	}
	p := user("all")
	p.run("check", "--prefix", "myapp:").want(t, 0, "all that locks need", "")
	p.run("check", "--prefix", "myapp:").want(t, 0, "in any of its databases", "")
	r := p.run("check")
	for _, what := range []string{"key", "channel"} {
		denied := regexp.MustCompile(`(?i)no permissions to access (a|one of the) ` + what)
		if r.status != 69 || !denied.MatchString(r.stdout) || !denied.MatchString(r.stderr) {
			t.Errorf("with another prefix: %+v; want status 69, and that a %s is denied", r, what)
		}
	}
	r.want(t, 69, "--prefix", "")

	r = user("some", deny("client|kill", "client|list")...).run("check", "--prefix", "myapp:")
	for _, permission := range []string{"client|kill", "client|list"} {
		optional := regexp.MustCompile(`'` + regexp.QuoteMeta(permission) + `'.*; without it, a holder that hangs keeps its lock\n`)
		if r.status != 0 || !optional.MatchString(r.stdout) {
			t.Errorf("without %s: %+v", permission, r)
		}
	}

	for _, p := range probes("") {
		if p.without != "" {
			continue
		}
		place := user("without-"+p.permission, deny(p.permission)...)
		place.run("check", "--prefix", "myapp:").wantMissing(t, p.permission)
	}
	for _, permission := range []string{"subscribe", "unsubscribe"} {
		user("without-"+permission, "-"+permission).run("check", "--prefix", "myapp:").wantMissing(t, permission)
	}
	if keys := s.Do("KEYS", "*probe*").([]any); len(keys) > 0 {
		// Where DEL was denied, it is gone in a second.
		p.eventually("the key of the probes is gone", func() bool { return len(s.Do("KEYS", "*probe*").([]any)) == 0 })
	}
}

// wantMissing checks that a check has named a permission.
func (r result) wantMissing(t *testing.T, permission string) {
	t.Helper()
	if r.status != 69 || !strings.Contains(r.stdout, "'"+permission+"'") || !strings.Contains(r.stderr, "'"+permission+"'") {
		t.Errorf("without %s: %+v", permission, r)
	}
}
