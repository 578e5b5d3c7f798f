package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
)

// The measures of the chart, in pixels.
const (
	chartWidth  = 860
	labelWidth  = 190
	barMost     = 480
	barHeight   = 14
	rowHeight   = 19
	titleHeight = 30
)

// asSVG draws the medians: a group of bars for each metric, and in each group the
// longest bar is the greatest.
func (r *report) asSVG() ([]byte, error) {
	var b bytes.Buffer
	y := 10
	for _, s := range r.Workloads {
		for i := 0; i < len(s.Results); {
			n := i
			for n < len(s.Results) && s.Results[n].Metric == s.Results[i].Metric {
				n++
			}
			y = drawGroup(&b, y, s.Name, s.Results[i:n])
			i = n
		}
	}
	var all bytes.Buffer
	fmt.Fprintf(&all, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" font-family="sans-serif" font-size="12">`+"\n", chartWidth, y+10)
	fmt.Fprintf(&all, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", chartWidth, y+10)
	all.Write(b.Bytes())
	all.WriteString("</svg>\n")
	return all.Bytes(), nil
}

// drawGroup draws the bars of one metric, and returns where the next group begins.
func drawGroup(b *bytes.Buffer, y int, workload string, results []result) int {
	direction := "less is better"
	if results[0].Unit == perSecond {
		direction = "more is better"
	}
	y += titleHeight
	drawText(b, 10, y-10, "bold", fmt.Sprintf("%s: %s (%s)", workload, results[0].Metric, direction))
	var most float64
	for _, x := range results {
		most = max(most, x.Median)
	}
	for _, x := range results {
		length, color := 1.0, "#9aa5b1"
		if most > 0 {
			length = max(length, barMost*x.Median/most)
		}
		if x.Contender == ours {
			color = "#2563eb"
		}
		drawText(b, 10, y+barHeight-3, "normal", x.Contender)
		fmt.Fprintf(b, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>`+"\n", labelWidth, y, length, barHeight, color)
		drawText(b, labelWidth+int(length)+6, y+barHeight-3, "normal", x.Unit.format(x.Median))
		y += rowHeight
	}
	return y
}

func drawText(b *bytes.Buffer, x, y int, weight, text string) {
	fmt.Fprintf(b, `<text x="%d" y="%d" font-weight="%s">`, x, y, weight)
	_ = xml.EscapeText(b, []byte(text)) // to a buffer
	b.WriteString("</text>\n")
}
