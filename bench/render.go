package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
)

// legend is what the tables need to be read.
const legend = "Ratio: how many times better this library was (below 1: worse), the median of the rounds, and in parentheses the least and the greatest. p90 and p99 are of 10 and 100 values at least. Worst: the longest, or the fewest a second. Loaded: rounds in which other programs kept the machine busy."

func (r *report) facts() []string {
	facts := []string{
		"Machine: " + r.Machine,
		"Began: " + r.Began.Format("2006-01-02 15:04:05 MST"),
		"Go: " + r.Go,
	}
	if r.Load != "" {
		facts = append(facts, "Load averages (1, 5 and 15 minutes): "+r.Load)
	}
	for _, s := range r.Servers {
		facts = append(facts, "Server: "+s)
	}
	rounds := fmt.Sprintf("Rounds: %d", r.Rounds)
	if r.Quick {
		rounds += ", with -quick"
	}
	facts = append(facts, rounds)
	for _, s := range r.Skipped {
		facts = append(facts, "Not measured: "+s)
	}
	for _, s := range r.Failed {
		facts = append(facts, "Failed: "+s)
	}
	return facts
}

// text writes the report for a terminal.
func (r *report) text(out io.Writer) error {
	var b bytes.Buffer
	for _, s := range r.facts() {
		fmt.Fprintln(&b, s)
	}
	fmt.Fprintln(&b, "\nHow each is used:")
	for _, s := range r.Settings {
		fmt.Fprintf(&b, "  %s (%s): %s\n", s.Contender, s.Place, s.Settings)
	}
	fmt.Fprintf(&b, "\n%s\n", legend)
	for _, s := range r.Workloads {
		fmt.Fprintf(&b, "\n%s\n", s.Name)
		w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		last := ""
		for _, x := range s.Results {
			if x.Metric != last {
				_, _ = fmt.Fprintf(w, "  %s\tmedian\tp90\tp99\tworst\tratio\tvalues\tloaded\n", x.Metric)
				last = x.Metric
			}
			_, _ = fmt.Fprintf(w, "    %s\n", strings.Join(x.cells(), "\t"))
		}
		_ = w.Flush() // to a buffer
	}
	_, err := out.Write(b.Bytes())
	return err
}

// findings say what the figures mean, and where a peer is better and why. The figures in
// it are not those of the tables, and say how they were measured.
//
//go:embed findings.md
var findings string

// asMarkdown renders the report for BENCHMARKS.md. chart is where its chart is, or "".
func (r *report) asMarkdown(chart string) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("# Benchmarks\n\nMade with `go -C bench run . -markdown FILE -svg FILE`.\n\n")
	for _, s := range r.facts() {
		fmt.Fprintf(&b, "- %s\n", s)
	}
	b.WriteString("\n" + findings)
	if chart != "" {
		fmt.Fprintf(&b, "\n## Chart\n\nThe medians; in each group the longest bar is the greatest.\n\n![The medians of all workloads](%s)\n", chart)
	}
	b.WriteString("\n## How each is used\n\n")
	for _, s := range r.Settings {
		fmt.Fprintf(&b, "- **%s** (%s): %s\n", s.Contender, s.Place, s.Settings)
	}
	fmt.Fprintf(&b, "\n## Results\n\n%s\n", legend)
	for _, s := range r.Workloads {
		fmt.Fprintf(&b, "\n### %s\n\n%s\n", s.Name, s.About)
		last := ""
		for _, x := range s.Results {
			if x.Metric != last {
				fmt.Fprintf(&b, "\n| %s | median | p90 | p99 | worst | ratio | values | loaded |\n|---|--:|--:|--:|--:|--:|--:|--:|\n", x.Metric)
				last = x.Metric
			}
			fmt.Fprintf(&b, "| %s |\n", strings.Join(x.cells(), " | "))
		}
	}
	return b.Bytes(), nil
}

// cells are the columns of a result.
func (x *result) cells() []string {
	optional := func(v *float64) string {
		if v == nil {
			return "–"
		}
		return x.Unit.format(*v)
	}
	ratio := "–"
	if x.Contender == ours {
		ratio = "1"
	} else if x.Ratio != nil {
		ratio = significant(x.Ratio.Median)
		if len(x.Medians) > 1 {
			ratio += fmt.Sprintf(" (%s–%s)", significant(x.Ratio.Least), significant(x.Ratio.Greatest))
		}
	}
	loaded := "–"
	if x.Loaded > 0 {
		loaded = fmt.Sprintf("%d of %d", x.Loaded, len(x.Medians))
	}
	return []string{
		x.Contender, x.Unit.format(x.Median), optional(x.P90), optional(x.P99), x.Unit.format(x.Worst),
		ratio, fmt.Sprint(x.Values), loaded,
	}
}

func (u unit) format(v float64) string {
	switch u {
	case seconds:
		for _, step := range []struct {
			name string
			size float64
		}{{"s", 1}, {"ms", 1e-3}, {"µs", 1e-6}} {
			if v >= step.size {
				return significant(v/step.size) + " " + step.name
			}
		}
		return significant(v/1e-9) + " ns"
	case perSecond:
		return significant(v) + "/s"
	case bytesUsed:
		return significant(v) + " B"
	}
	return significant(v)
}

// significant returns three digits of a number, and all that are before the point.
func significant(v float64) string {
	if v == 0 {
		return "0"
	}
	decimals := 2 - int(math.Floor(math.Log10(math.Abs(v))))
	if v == math.Trunc(v) {
		decimals = 0
	}
	s := fmt.Sprintf("%.*f", min(max(decimals, 0), 4), v)
	whole, fraction, _ := strings.Cut(s, ".")
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if fraction != "" {
		return whole + "." + fraction
	}
	return whole
}

func (r *report) asJSON() ([]byte, error) {
	b, err := json.MarshalIndent(r, "", "  ")
	return append(b, '\n'), err
}
