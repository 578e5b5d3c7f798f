package redisacl_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/golocker/locker/internal/redisacl"
)

// The README has the same rules.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(readme), "ACL SETUSER myapp ")
	block, _, _ := strings.Cut(after, "\n\n")
	got := slices.Sorted(strings.FieldsSeq(block))
	want := slices.Sorted(slices.Values(append(redisacl.Rules("myapp:"), "on", ">password")))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the rules of the README differ (-want +got):\n%s", diff)
	}
}
