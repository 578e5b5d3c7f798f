package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// A report is what a run has measured.
type report struct {
	Began     time.Time
	Machine   string
	Load      string   `json:",omitempty"` // averages when it began and ended; empty: unknown
	Go        string   // version and system
	Servers   []string `json:",omitempty"`
	Rounds    int
	Quick     bool
	Skipped   []string  `json:",omitempty"`
	Failed    []string  `json:",omitempty"`
	Settings  []setting // of the contenders
	Workloads []section

	samples map[key][][]float64 // a slice for each round that was measured
	loaded  map[key][]bool      // by round, as samples
	rounds  map[key][]int       // which, as samples
}

type setting struct{ Place, Contender, Settings string }

// A section is a workload.
type section struct {
	Name, About string
	Results     []result
}

// A result is what one contender has come to in one metric.
type result struct {
	Metric    string
	Unit      unit
	Contender string
	Values    int       // how many there are
	Median    float64   // of all values
	P90       *float64  `json:",omitempty"` // of 10 values at least
	P99       *float64  `json:",omitempty"` // of 100 values at least
	Worst     float64   // of all values
	Ratio     *ratio    `json:",omitempty"` // to this library; nil: it is this library, or cannot be said
	Medians   []float64 // of each round
	Loaded    int       // rounds in which others kept the machine busy
}

// A ratio says how many times better this library was: the median of the rounds, the
// least and the greatest.
type ratio struct{ Median, Least, Greatest float64 }

// A key names the values of a result.
type key struct {
	workload, contender string
	metric              metric
}

func newReport(s settings, l *lab) *report {
	return &report{
		Began: time.Now(), Machine: machine(), Load: loadAverage(),
		Go:      fmt.Sprintf("%s %s/%s", runtime.Version(), runtime.GOOS, runtime.GOARCH),
		Servers: l.versions, Skipped: l.skipped, Rounds: s.rounds, Quick: s.quick,
		samples: map[key][][]float64{}, loaded: map[key][]bool{}, rounds: map[key][]int{},
	}
}

func machine() string {
	s := fmt.Sprintf("%d processors", runtime.NumCPU())
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return s + ", " + strings.TrimSpace(value)
		}
	}
	return s
}

// loadAverage returns the averages of the last 1, 5 and 15 minutes.
func loadAverage() string {
	b, _ := os.ReadFile("/proc/loadavg")
	f := strings.Fields(string(b))
	return strings.Join(f[:min(3, len(f))], " ")
}

// add adds what a contender has done in a round.
func (r *report) add(w workload, c contender, round int, m *measured, loaded bool) {
	r.mention(c)
	s := r.section(w)
	for _, k := range m.metrics {
		id := key{w.name, c.name, k}
		if len(r.samples[id]) == 0 {
			s.Results = append(s.Results, result{Metric: k.name, Unit: k.unit, Contender: c.name})
		}
		r.samples[id] = append(r.samples[id], m.values[k])
		r.loaded[id] = append(r.loaded[id], loaded)
		r.rounds[id] = append(r.rounds[id], round)
	}
}

// errLeftOut says that a contender was not measured, on purpose.
var errLeftOut = errors.New("left out")

// fail notes that a contender has failed, or was left out. It returns that as an error
// if it is this library.
func (r *report) fail(w workload, c contender, err error) error {
	r.mention(c)
	err = fmt.Errorf("%s: %s: %w", w.name, c.name, err)
	if errors.Is(err, errLeftOut) {
		r.Skipped = append(r.Skipped, err.Error())
		return nil
	}
	r.Failed = append(r.Failed, strings.ReplaceAll(err.Error(), "\n", "; "))
	if c.name != ours {
		return nil
	}
	return err
}

func (r *report) mention(c contender) {
	s := setting{string(c.place), c.name, c.settings}
	if !slices.Contains(r.Settings, s) {
		r.Settings = append(r.Settings, s)
	}
}

func (r *report) section(w workload) *section {
	i := slices.IndexFunc(r.Workloads, func(s section) bool { return s.Name == w.name })
	if i < 0 {
		i = len(r.Workloads)
		r.Workloads = append(r.Workloads, section{Name: w.name, About: w.about})
	}
	return &r.Workloads[i]
}

// summarize computes the results, and puts those of a metric together.
func (r *report) summarize() {
	if r.Load != "" {
		r.Load += ", then " + loadAverage()
	}
	for i := range r.Workloads {
		s := &r.Workloads[i]
		var order []string // of the metrics
		for j := range s.Results {
			r.complete(s.Name, &s.Results[j])
			if !slices.Contains(order, s.Results[j].Metric) {
				order = append(order, s.Results[j].Metric)
			}
		}
		rank := func(x result) int {
			place := 0
			if x.Contender != ours {
				place = 1 + slices.IndexFunc(r.Settings, func(s setting) bool { return s.Contender == x.Contender })
			}
			return slices.Index(order, x.Metric)*1000 + place
		}
		slices.SortStableFunc(s.Results, func(a, b result) int { return rank(a) - rank(b) })
	}
}

func (r *report) complete(workload string, x *result) {
	id := key{workload, x.Contender, metric{x.Metric, x.Unit}}
	all := slices.Sorted(slices.Values(slices.Concat(r.samples[id]...)))
	if x.Unit == perSecond {
		slices.Reverse(all) // the worst is the last
	}
	x.Values, x.Median, x.Worst = len(all), percentile(all, 50), percentile(all, 100)
	if len(all) >= 10 {
		x.P90 = new(percentile(all, 90))
	}
	if len(all) >= 100 {
		x.P99 = new(percentile(all, 99))
	}
	for _, values := range r.samples[id] {
		x.Medians = append(x.Medians, percentile(slices.Sorted(slices.Values(values)), 50))
	}
	for _, loaded := range r.loaded[id] {
		if loaded {
			x.Loaded++
		}
	}
	if x.Contender != ours {
		x.Ratio = r.ratio(id, x)
	}
}

// ratio compares the rounds in which both were measured.
func (r *report) ratio(id key, x *result) *ratio {
	own := id
	own.contender = ours
	var ratios []float64
	for i, round := range r.rounds[id] {
		j := slices.Index(r.rounds[own], round)
		if j < 0 {
			continue
		}
		mine, theirs := percentile(slices.Sorted(slices.Values(r.samples[own][j])), 50), x.Medians[i]
		if x.Unit == perSecond {
			mine, theirs = theirs, mine
		}
		if mine <= 0 {
			return nil // so many times nothing
		}
		ratios = append(ratios, theirs/mine)
	}
	if len(ratios) == 0 {
		return nil
	}
	slices.Sort(ratios)
	return &ratio{percentile(ratios, 50), ratios[0], ratios[len(ratios)-1]}
}

// percentile returns the value that so many percent of the values, which are in
// order, do not exceed.
func percentile(values []float64, percent int) float64 {
	n := len(values)
	if percent == 50 && n%2 == 0 {
		return (values[n/2-1] + values[n/2]) / 2
	}
	return values[max(0, (n*percent+99)/100-1)]
}

// write writes the files that were asked for.
func (r *report) write(s settings) error {
	var errs []error
	markdown := func() ([]byte, error) {
		return r.asMarkdown(filepath.ToSlash(relative(s.markdown, s.svg)))
	}
	for _, f := range []struct {
		name   string
		render func() ([]byte, error)
	}{{s.markdown, markdown}, {s.json, r.asJSON}, {s.svg, r.asSVG}} {
		if f.name == "" {
			continue
		}
		b, err := f.render()
		if err == nil {
			err = os.WriteFile(f.name, b, 0o644)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// relative returns how one file names another.
func relative(from, to string) string {
	dir, err := filepath.Abs(filepath.Dir(from))
	file, err2 := filepath.Abs(to)
	if to == "" || err != nil || err2 != nil {
		return to
	}
	if path, err := filepath.Rel(dir, file); err == nil {
		return path
	}
	return to
}
