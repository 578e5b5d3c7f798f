package redislock

import (
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A layer knows those below it alone. CONTRIBUTING.md draws them.
func TestLayersUseEachOtherOneWay(t *testing.T) {
	for layer, below := range map[string][]string{
		".":                 {"session", "server", "protocol", "dial", "resp"},
		"internal/session":  {"server", "conn", "protocol", "dial", "resp"},
		"internal/server":   {"protocol", "dial", "resp"},
		"internal/protocol": {"resp"},
		"internal/conn":     {"resp"},
		"internal/dial":     {"resp"},
		"internal/resp":     {},
	} {
		files, err := filepath.Glob(filepath.Join(layer, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", layer, len(files), err)
		}
		for _, name := range files {
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range file.Imports {
				used, ours := strings.CutPrefix(strings.Trim(i.Path.Value, `"`), "github.com/golocker/locker/redislock/internal/")
				if ours && !slices.Contains(below, used) && !strings.HasSuffix(name, "_test.go") {
					t.Errorf("%s uses %s", name, used)
				}
			}
		}
	}
}
