package main

import (
	"os/exec"
	"strings"
	"testing"
)

func TestVersion(t *testing.T) {
	p := newPlace(t, "")
	for _, args := range [][]string{{"version"}, {"--version"}, {"-v"}} {
		if r := p.run(args...); r.status != 0 || !strings.HasPrefix(r.stdout, "locker ") || strings.Count(r.stdout, "\n") != 1 {
			t.Errorf("%q: %+v", args, r)
		}
	}
}

func TestHelp(t *testing.T) {
	p := newPlace(t, "")
	for _, args := range [][]string{nil, {"help"}, {"--help"}, {"-h"}} {
		p.run(args...).want(t, 0, "run a command while a lock is held", "")
	}
	for _, args := range [][]string{{"run", "--help"}, {"help", "run"}, {"run", "x", "-h"}} {
		p.run(args...).want(t, 0, "--conflict-exit-code", "")
	}
	p.run("bogus").wantLine(t, 2, `unknown command "bogus"`)
	p.run("help", "bogus").wantLine(t, 2, "bogus")
	p.run("--bogus").wantLine(t, 2, "bogus")
	p.run("check", "bogus").wantLine(t, 2, `unknown argument "bogus"`)
}

func TestCompletion(t *testing.T) {
	p := newPlace(t, "")
	for _, shell := range []string{"bash", "zsh", "fish", "pwsh"} {
		r := p.run("completion", shell)
		r.want(t, 0, "generate-shell-completion", "")
		if path, err := exec.LookPath(shell); err == nil && shell == "bash" {
			cmd := exec.Command(path, "-n")
			cmd.Stdin = strings.NewReader(r.stdout)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		}
	}
	// What the scripts ask for.
	const ask = "--generate-shell-completion"
	p.run(ask).want(t, 0, "run:run a command", "")
	p.run("run", "--no", ask).want(t, 0, "--no-wait:", "")
	p.run("run", "--u", ask).want(t, 0, "--url:", "")
	p.run("status", "-", ask).want(t, 0, "--json:", "")
	if r := p.run("run", "x", "--", "echo", "run", ask); strings.Contains(r.stdout, "run") {
		t.Errorf("a command was run to complete it: %+v", r)
	}
}
