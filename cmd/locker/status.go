package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/golocker/locker"
)

// shortest is how often locks may be shown: each time costs the backend something.
const shortest = 100 * time.Millisecond

// A status is what the command status shows.
type status struct {
	*program
	json     bool
	watch    bool
	interval time.Duration
}

func (p *program) statusCommand() *cli.Command {
	s := &status{program: p}
	return &cli.Command{
		Name:      "status",
		Usage:     "show who holds locks, and how many wait",
		UsageText: "locker status [options] [NAME...]",
		Description: "Without names, all locks that are held, but for those on Redis whose holder has left no\n" +
			"hint, as a portalocker. With --json, an array with an object for each\n" +
			"lock: name, held, holder (host, pid, id, since, token; null if it is free) and waiters\n" +
			"(null if that is not known). What the backend does not know of a holder is left out.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "json", Usage: "for programs", Destination: &s.json},
			&cli.BoolFlag{Name: "watch", Aliases: []string{"w"}, Usage: "show it again and again", Destination: &s.watch},
			&cli.DurationFlag{Name: "interval", Aliases: []string{"i"}, Usage: "how often, with --watch", Value: 2 * time.Second, Destination: &s.interval, Validator: func(d time.Duration) error {
				if d < shortest {
					return fmt.Errorf("it must be %v at least", shortest)
				}
				return nil
			}},
		},
		Action: func(ctx context.Context, cmd *cli.Command) error { return s.do(ctx, cmd.Args().Slice()) },
	}
}

// do shows the locks, once or until a signal ends it.
func (s *status) do(ctx context.Context, names []string) error {
	if s.watch {
		var stop context.CancelFunc
		ctx, stop = signal.NotifyContext(ctx, os.Interrupt)
		defer stop()
	}
	locks, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = locks.Close() }()
	_, live := terminal(os.Stdout)
	live = live && !s.json
	for {
		infos, err := look(ctx, locks, names)
		var text strings.Builder
		if err == nil {
			err = s.write(&text, infos)
		}
		if s.watch && ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if s.watch && live {
			// Line by line over what was there, so that nothing flickers.
			redrawn := strings.ReplaceAll(text.String(), "\n", "\x1b[K\n")
			_, err = fmt.Fprint(os.Stdout, "\x1b[H", redrawn, "\x1b[J")
		} else {
			_, err = fmt.Fprint(os.Stdout, text.String())
		}
		if err != nil || !s.watch || !sleep(ctx, s.interval) {
			return err
		}
		if !live && !s.json {
			fmt.Println()
		}
	}
}

// look returns what is known of locks: of those that are held, if no names are given.
func look(ctx context.Context, locks locker.Locker, names []string) ([]locker.Info, error) {
	inspector, ok := locks.(locker.Inspector)
	if !ok {
		return nil, fmt.Errorf("these locks cannot be looked at")
	}
	all := len(names) == 0
	if all {
		for name, err := range inspector.Names(ctx) {
			if err != nil {
				return nil, err
			}
			names = append(names, name)
		}
		slices.Sort(names)
		names = slices.Compact(names)
	}
	infos := make([]locker.Info, 0, len(names))
	for _, name := range names {
		info, err := inspector.Inspect(ctx, name)
		if err != nil {
			return nil, err
		}
		if info.Held || !all { // it may have been released meanwhile
			infos = append(infos, info)
		}
	}
	return infos, nil
}

func (s *status) write(w io.Writer, infos []locker.Info) error {
	if s.json {
		return writeJSON(w, infos)
	}
	return writeTable(w, infos, time.Now())
}

// A lockJSON is what programs are told of a lock.
type lockJSON struct {
	Name    string      `json:"name"`
	Held    bool        `json:"held"`
	Holder  *holderJSON `json:"holder"`
	Waiters *int        `json:"waiters"`
}

type holderJSON struct {
	Host  string     `json:"host,omitempty"`
	PID   int        `json:"pid,omitempty"`
	ID    string     `json:"id,omitempty"`
	Since *time.Time `json:"since,omitempty"`
	Token uint64     `json:"token,omitempty"`
}

func writeJSON(w io.Writer, infos []locker.Info) error {
	all := make([]lockJSON, 0, len(infos))
	for _, info := range infos {
		l := lockJSON{Name: info.Name, Held: info.Held}
		if info.Held {
			h := info.Holder
			l.Holder = &holderJSON{Host: h.Host, PID: h.PID, ID: h.ID, Token: h.Token}
			if !h.Since.IsZero() {
				l.Holder.Since = &h.Since
			}
		}
		if info.Waiters >= 0 {
			l.Waiters = &info.Waiters
		}
		all = append(all, l)
	}
	return json.NewEncoder(w).Encode(all)
}

func writeTable(w io.Writer, infos []locker.Info, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "NAME\tHOLDER\tHOST\tSINCE\tTOKEN\tWAITING")
	for _, info := range infos {
		row := []string{printable(info.Name), "free", "", "", "", ""}
		if h := info.Holder; info.Held {
			row[1] = "another"
			switch {
			case h.PID != 0:
				row[1] = fmt.Sprintf("pid %d", h.PID)
			case h.ID != "":
				row[1] = printable(h.ID)
			}
			row[2], row[3] = printable(h.Host), since(h.Since, now)
			if h.Token != 0 {
				row[4] = strconv.FormatUint(h.Token, 10)
			}
		}
		row[5] = "?"
		if info.Waiters >= 0 {
			row[5] = strconv.Itoa(info.Waiters)
		}
		for i, cell := range row {
			if cell == "" {
				row[i] = "-"
			}
		}
		_, _ = fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	return t.Flush()
}

// printable returns a text as it is, unless a terminal or the table could obey it.
func printable(text string) string {
	if quoted := strconv.Quote(text); quoted != `"`+text+`"` {
		return quoted
	}
	return text
}
