package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/golocker/locker/internal/redisacl"
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
	// user is permitted what locks need, and not what is denied.
	user := func(name string, denied ...string) *place {
		name = strings.ReplaceAll(name, "|", "-")
		args := []any{"ACL", "SETUSER", name, "on", ">password", "+scan"}
		for _, rule := range redisacl.Rules("myapp:") {
			if !slices.Contains(denied, strings.TrimPrefix(rule, "+")) {
				args = append(args, rule)
			}
		}
		s.Do(args...)
		return newPlace(t, "redis://"+name+":password@"+s.Addr)
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

	r = user("some", "client|kill", "client|list").run("check", "--prefix", "myapp:")
	for _, permission := range []string{"client|kill", "client|list"} {
		optional := regexp.MustCompile(`'` + regexp.QuoteMeta(permission) + `'.*; without it, a holder that hangs keeps its lock\n`)
		if r.status != 0 || !optional.MatchString(r.stdout) {
			t.Errorf("without %s: %+v", permission, r)
		}
	}

	for _, p := range redisacl.Permissions() {
		if p.Without == "" {
			user("without-"+p.Name, p.Name).run("check", "--prefix", "myapp:").wantMissing(t, p.Name)
		}
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
