//go:build unix

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestRunExitStatus(t *testing.T) {
	p := newPlace(t, "")
	text := filepath.Join(p.dir, "text")
	if err := os.WriteFile(text, []byte("no program"), 0o600); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(p.dir, "program")
	if err := os.WriteFile(program, []byte("#!/no/such/interpreter\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(p.dir, "script")
	if err := os.WriteFile(script, []byte("exit $1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		args   []string
		status int
		says   string
	}{
		{"a script without an interpreter", []string{"x", "--", script, "5"}, 5, ""},
		{"success", []string{"x", "--", "true"}, 0, ""},
		{"failure", []string{"x", "--", "sh", "-c", "exit 3"}, 3, ""},
		{"ended by a signal", []string{"x", "--", "sh", "-c", "kill -TERM $$"}, 143, ""},
		{"killed", []string{"x", "--", "sh", "-c", "kill -KILL $$"}, 137, ""},
		{"no such command", []string{"x", "--", "no-such-command"}, 127, "no-such-command: command not found"},
		{"no such file", []string{"x", "--", "./no-such-file"}, 127, "./no-such-file: command not found"},
		{"no interpreter", []string{"x", "--", program}, 127, program + ": no such file"},
		{"not executable", []string{"x", "--", text}, 126, text + ": permission denied"},
		{"a directory", []string{"x", "--", p.dir}, 126, p.dir + ": is a directory"},
		{"no command", []string{"x", "--"}, 2, "there is no command after --"},
		{"no --", []string{"x", "true"}, 2, "there is no -- before the command"},
		{"no name", []string{"--", "true"}, 2, "there is no name"},
		{"two names", []string{"x", "y", "--", "true"}, 2, "more than one name"},
		{"empty name", []string{"", "--", "true"}, 2, "invalid name"},
		{"long name", []string{strings.Repeat("x", 1025), "--", "true"}, 2, "invalid name"},
		{"two ways to wait", []string{"--no-wait", "--timeout", "1s", "x", "--", "true"}, 2, "timeout cannot be set along with option no-wait"},
		{"a timeout without a unit", []string{"--timeout", "1", "x", "--", "true"}, 2, "missing unit"},
		{"a negative timeout", []string{"--timeout", "-1s", "x", "--", "true"}, 2, "must not be negative"},
		{"an unknown flag", []string{"--bogus", "x", "--", "true"}, 2, "bogus"},
		{"an unknown flag after the name", []string{"x", "--bogus", "--", "true"}, 2, "bogus"},
		{"an unknown action", []string{"--on-loss", "cry", "x", "--", "true"}, 2, "want term, kill or ignore"},
		{"no exit status", []string{"-E", "256", "x", "--", "true"}, 2, "from 0 to 255"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := p.run(append([]string{"run"}, tt.args...)...)
			if tt.says == "" {
				r.want(t, tt.status, "", "")
				if r.stdout+r.stderr != "" {
					t.Errorf("it says %q", r.stdout+r.stderr)
				}
				return
			}
			r.wantLine(t, tt.status, tt.says)
		})
	}
}

// What follows -- is the command, whatever it looks like, and what is before it is
// locker's, on both sides of the name.
func TestRunCommandLine(t *testing.T) {
	p := newPlace(t, "")
	for _, args := range [][]string{
		{"run", "x", "--", "echo", "-E", "--", "run", " a  b "},
		{"run", "--timeout", "1s", "x", "-E", "3", "--", "echo", "-E", "--", "run", " a  b "},
		{"--quiet", "run", "x", "--", "echo", "-E", "--", "run", " a  b "},
		{"run", "--", "-x", "--", "echo", "-E", "--", "run", " a  b "},
	} {
		p.run(args...).want(t, 0, "-- run  a  b \n", "")
	}
	p.run("run", "help", "--", "echo", "a lock may have any name").want(t, 0, "any name", "")
}

func TestRunEnvironment(t *testing.T) {
	p := newPlace(t, "")
	const show = `echo "[$LOCKER_NAME] [$LOCKER_TOKEN] [$LOCKER_RUN] [$LOCKER_URL]"`
	shown := regexp.MustCompile(`^\[(.*)\] \[(\d+)\] \[([0-9a-f:]+)\] \[(.*)\]\n$`)
	r := p.run("run", "a name", "--", "sh", "-c", show)
	m := shown.FindStringSubmatch(r.stdout)
	if m == nil || m[1] != "a name" || m[2] == "0" || len(m[3]) != 32 {
		t.Errorf("%+v", r)
	}

	// A run within a run adds to what the outer one is known by.
	program := p.locker().Path
	r = p.run("run", "outer", "--", program, "run", "inner", "--", "sh", "-c", show)
	m = shown.FindStringSubmatch(r.stdout)
	if m == nil || m[1] != "inner" || len(m[3]) != 65 || r.status != 0 {
		t.Errorf("%+v", r)
	}
}

// The command has the input, the output and the other files of the caller.
func TestRunPassesFilesOn(t *testing.T) {
	p := newPlace(t, "")
	cmd := p.locker("run", "x", "--", "sh", "-c", "cat; echo error >&2; echo more >&3")
	cmd.Stdin = strings.NewReader("input")
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cmd.ExtraFiles = []*os.File{file}
	p.end(cmd).want(t, 0, "input", "error")
	if got, err := os.ReadFile(file.Name()); string(got) != "more\n" {
		t.Errorf("%q, %v", got, err)
	}
}

// Nothing but files in the state directory is needed.
func TestRunWithoutSetUp(t *testing.T) {
	p := newPlace(t, "")
	p.run("run", "x", "--", "true").want(t, 0, "", "")
	if _, err := os.Stat(p.file("x")); err != nil {
		t.Error(err)
	}
	cmd := p.locker("run", "x", "--", "true")
	cmd.Env = append(cmd.Env, "XDG_STATE_HOME=", "HOME=")
	p.end(cmd).wantLine(t, 2, "want --url file:///directory")
}
