package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/golocker/locker/internal/programtest"
)

func TestMain(m *testing.M) { programtest.Main(m, main) }

// program returns the program as a command that has not been started.
func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), "LOCKER_TEST_AS_PROGRAM=1", "GORACE=atexit_sleep_ms=0", "TMPDIR="+t.TempDir())
	return cmd
}

// requireRedis skips the test where there is no redis-server.
func requireRedis(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("LOCKER_TEST_REQUIRE") == "all" {
			t.Fatal("redis-server is not installed, and LOCKER_TEST_REQUIRE=all")
		}
		t.Skip("redis-server is not installed")
	}
}

func TestRunWritesWhatItMeasured(t *testing.T) {
	type test struct {
		workload   string
		redis      bool
		contenders []string
	}
	tests := []test{
		{"redis/free lock, all processors", true, []string{ours, "bsm/redislock", "redsync", "rueidislock", "rueidislock, defaults", "by hand"}},
		{"redis/hand-off", true, []string{ours, "rueidislock", "by hand"}},
		{"redis/dead waiter in the queue", true, []string{ours, "rueidislock"}},
		{"redis/notice of loss", true, []string{ours}},
		{"file/take-over after SIGKILL", false, []string{ours, "flock, polling", "flock, blocking"}},
		{"memory/free lock", false, []string{ours, "moby/locker", "x/sync/semaphore"}},
	}
	if len(processors()) > 1 {
		tests = append(tests, test{"redis/free lock, a processor each", true, []string{ours, "by hand"}})
	}
	for _, c := range tests {
		t.Run(c.workload, func(t *testing.T) {
			if c.redis {
				requireRedis(t)
			}
			dir := t.TempDir()
			name := func(ext string) string { return filepath.Join(dir, "report."+ext) }
			cmd := program(t, "-quick", "-rounds", "1", "-run", "^"+regexp.QuoteMeta(c.workload)+"$",
				"-markdown", name("md"), "-json", name("json"), "-svg", name("svg"))
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			text, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v\n%s", err, &stderr)
			}
			markdown := read(t, name("md"))
			r := decode(t, read(t, name("json")))
			checkSVG(t, read(t, name("svg")))
			for _, contender := range c.contenders {
				if contender != ours && strings.Contains(strings.Join(r.Failed, "\n"), contender) {
					t.Logf("a peer has failed: %q", r.Failed)
					continue
				}
				x := find(t, r, c.workload, contender)
				if x.Median <= 0 || x.Values == 0 || x.Worst < x.Median {
					t.Errorf("%s: median %v, worst %v of %d values", contender, x.Median, x.Worst, x.Values)
				}
				if (x.Ratio == nil) != (contender == ours) {
					t.Errorf("%s: ratio %v", contender, x.Ratio)
				}
				shown := x.Unit.format(x.Median)
				for what, table := range map[string]string{"table": string(text), "Markdown": markdown} {
					if !hasRow(table, contender, shown) {
						t.Errorf("%s: the %s has no row with %q:\n%s", contender, what, shown, table)
					}
				}
			}
		})
	}
}

// A run that is interrupted ends its server and its children, and leaves no files.
func TestInterruptLeavesNothing(t *testing.T) {
	requireRedis(t)
	cmd := program(t, "-run", "^redis/hand-off$")
	dir := strings.TrimPrefix(cmd.Env[len(cmd.Env)-1], "TMPDIR=")
	stderr, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stderr.Read(make([]byte, 1)); err != nil { // it has begun
		t.Fatal(err)
	}
	go io.Copy(io.Discard, stderr)
	time.Sleep(200 * time.Millisecond) // most likely children run; right at any moment
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Skip(err) // Windows
	}
	if err := cmd.Wait(); !errors.As(err, new(*exec.ExitError)) || cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("it ended with %v, want status 1", err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		if line, err := os.ReadFile(f); err == nil && strings.Contains(string(line), dir) {
			t.Errorf("still runs: %q", line)
		}
	}
}

func TestRefusesArguments(t *testing.T) { programtest.RefusesArguments(t) }

func TestNoWorkloadMatches(t *testing.T) {
	out, err := program(t, "-run", "no such workload").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "-list") {
		t.Errorf("%v, %q; want a failure that mentions -list", err, out)
	}
}

func TestRoundsBeginWithAnother(t *testing.T) {
	all := []contender{{name: "a"}, {name: "b"}, {name: "c"}}
	for round, want := range []string{"abc", "bca", "cab", "abc"} {
		got := ""
		for _, c := range rotate(all, round) {
			got += c.name
		}
		if got != want {
			t.Errorf("round %d: %s, want %s", round, got, want)
		}
	}
}

func TestRatioComparesRounds(t *testing.T) {
	for u, want := range map[unit]ratio{
		seconds:   {3, 2, 4},
		perSecond: {1.0 / 3, 1.0 / 4, 1.0 / 2},
	} {
		r := newReport(settings{}, &lab{})
		w := workload{name: "w"}
		for round, values := range [][2]float64{{1, 2}, {2, 6}, {3, 12}} {
			for i, name := range []string{ours, "peer"} {
				m := &measured{}
				m.add("m", u, values[i])
				r.add(w, contender{name: name}, round, m, round == 1)
			}
		}
		r.summarize()
		x := find(t, r, "w", "peer")
		if x.Ratio == nil || *x.Ratio != want {
			t.Errorf("%s: ratio %v, want %v", u, x.Ratio, want)
		}
		if x.Loaded != 1 {
			t.Errorf("%d loaded rounds, want 1", x.Loaded)
		}
	}
}

func TestPercentile(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(i + 1)
	}
	for percent, want := range map[int]float64{50: 50.5, 90: 90, 99: 99, 100: 100} {
		if got := percentile(hundred, percent); got != want {
			t.Errorf("%d%%: %v, want %v", percent, got, want)
		}
	}
	if got := percentile([]float64{7}, 99); got != 7 {
		t.Errorf("of one value: %v", got)
	}
}

func TestFormat(t *testing.T) {
	for _, c := range []struct {
		unit unit
		v    float64
		want string
	}{
		{seconds, 0.0000000417, "41.7 ns"},
		{seconds, 0.000152, "152 µs"},
		{seconds, 0.00124, "1.24 ms"},
		{seconds, 8.0214, "8.02 s"},
		{perSecond, 12345.6, "12,346/s"},
		{count, 0, "0"},
		{count, 1000, "1,000"},
		{bytesUsed, 1234567, "1,234,567 B"},
	} {
		if got := c.unit.format(c.v); got != c.want {
			t.Errorf("%v %s: %q, want %q", c.v, c.unit, got, c.want)
		}
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func decode(t *testing.T, text string) *report {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	var r report
	if err := d.Decode(&r); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if len(r.Settings) == 0 || len(r.Workloads) != 1 {
		t.Fatalf("%d settings and %d workloads\n%s", len(r.Settings), len(r.Workloads), text)
	}
	return &r
}

func checkSVG(t *testing.T, text string) {
	t.Helper()
	bars := 0
	for d := xml.NewDecoder(strings.NewReader(text)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "rect" {
			bars++
		}
	}
	if bars < 2 { // and the background
		t.Errorf("the chart has no bars:\n%s", text)
	}
}

func find(t *testing.T, r *report, workload, contender string) result {
	t.Helper()
	for _, s := range r.Workloads {
		for _, x := range s.Results {
			if s.Name == workload && x.Contender == contender {
				return x
			}
		}
	}
	t.Fatalf("%s: no result of %s: %+v", workload, contender, r.Workloads)
	return result{}
}

// hasRow reports whether a table has a row of a contender with a value.
func hasRow(table, contender, value string) bool {
	for line := range strings.Lines(table) {
		if strings.HasPrefix(strings.TrimLeft(line, " |"), contender) && strings.Contains(line, value) {
			return true
		}
	}
	return false
}

func TestChartIsFoundFromTheReport(t *testing.T) {
	for _, c := range []struct{ from, to, want string }{
		{"../BENCHMARKS.md", "results.svg", "bench/results.svg"},
		{"report.md", "results.svg", "results.svg"},
		{"a/report.md", "b/results.svg", "../b/results.svg"},
		{"report.md", "", ""},
	} {
		if got := filepath.ToSlash(relative(c.from, c.to)); got != c.want {
			t.Errorf("%s to %s: %q, want %q", c.from, c.to, got, c.want)
		}
	}
}
