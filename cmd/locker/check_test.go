package main

import (
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
	rules := []any{"on", ">password", "~myapp:*", "~locker:session:*", "&myapp:*", "&locker:session:*", "+@all"}
	user := func(name string, more ...any) *place {
		name = strings.ReplaceAll(name, "|", "-")
		s.Do(append(append([]any{"ACL", "SETUSER", name}, rules...), more...)...)
		return newPlace(t, "redis://"+name+":password@"+s.Addr)
	}
	p := user("all")
	p.run("check", "--prefix", "myapp:").want(t, 0, "all that locks need", "")
	p.run("check", "--prefix", "myapp:").want(t, 0, "in any of its databases", "")
	r := p.run("check")
	r.want(t, 69, "one of the keys", "one of the channels")
	r.want(t, 69, "--prefix", "")

	r = user("some", "-client|kill", "-client|list").run("check", "--prefix", "myapp:")
	r.want(t, 0, "'client|kill' command; without it, a holder that hangs keeps its lock", "")
	r.want(t, 0, "'client|list' command; without it, a holder that hangs keeps its lock", "")

	for _, p := range probes("") {
		if p.without != "" {
			continue
		}
		place := user("without-"+p.permission, "-"+p.permission)
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
