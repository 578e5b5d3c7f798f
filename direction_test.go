package locker

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"slices"
	"strings"
	"testing"
)

// The files of this package are in an order in which each uses those before it alone: no
// two use each other, neither directly nor by way of others.
func TestFilesUseEachOtherOneWay(t *testing.T) {
	uses := fileUses(t)
	var visit func(file string, path []string)
	visited := make(map[string]bool)
	visit = func(file string, path []string) {
		if i := slices.Index(path, file); i >= 0 {
			t.Errorf("files use each other: %s", strings.Join(append(path[i:], file), " -> "))
			return
		}
		if visited[file] {
			return
		}
		for used := range uses[file] {
			visit(used, append(path[:len(path):len(path)], file))
		}
		visited[file] = true
	}
	for file := range uses {
		visit(file, nil)
	}
}

// fileUses returns which files have what each file of this package names.
func fileUses(t *testing.T) map[string]map[string]bool {
	t.Helper()
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	set := token.NewFileSet()
	var files []*ast.File
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(set, e.Name(), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	info := &types.Info{Uses: make(map[*ast.Ident]types.Object)}
	config := types.Config{Importer: noImports{}, Error: func(error) {}} // what is imported does not matter
	pkg, _ := config.Check("locker", set, files, info)
	uses := make(map[string]map[string]bool)
	for name, object := range info.Uses {
		from, to := set.File(name.Pos()), set.File(object.Pos())
		if object.Pkg() != pkg || to == nil || from == to {
			continue
		}
		if uses[from.Name()] == nil {
			uses[from.Name()] = make(map[string]bool)
		}
		uses[from.Name()][to.Name()] = true
	}
	return uses
}

// noImports imports nothing.
type noImports struct{}

func (noImports) Import(string) (*types.Package, error) { return nil, errors.ErrUnsupported }
