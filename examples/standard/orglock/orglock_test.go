package orglock

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/redistest"
)

// setenv sets the variables of the package, and unsets those not given.
func setenv(t *testing.T, env map[string]string) {
	for _, name := range []string{"LOCKS_REDIS_URL", "LOCKS_DIR", "LOCKS_TIMEOUT", "LOCKS_CHECK_INTERVAL"} {
		t.Setenv(name, env[name])
	}
}

// use opens two Lockers and checks that they exclude each other, for as long as
// LOCKS_TIMEOUT says. It returns what was logged.
func use(t *testing.T) string {
	t.Helper()
	var log bytes.Buffer
	var lockers [2]locker.Locker
	for i := range lockers {
		l, err := Open("billing service", slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		}()
		lockers[i] = l
	}
	err := locker.Do(t.Context(), lockers[0], "invoices", func(context.Context, locker.Lock) error {
		_, err := lockers[1].Acquire(t.Context(), "invoices")
		if !errors.Is(err, locker.ErrTimeout) || !strings.Contains(err.Error(), os.Getenv("LOCKS_TIMEOUT")) {
			t.Errorf("the second service: %v; want ErrTimeout after LOCKS_TIMEOUT", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), `service="billing service"`) {
		t.Errorf("log %s: no service", log.String())
	}
	return log.String()
}

func TestFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "locks")
	setenv(t, map[string]string{"LOCKS_DIR": dir, "LOCKS_TIMEOUT": "20ms"})
	use(t)
	if _, err := os.Stat(filepath.Join(dir, "invoices")); err != nil {
		t.Error(err)
	}
}

func TestRedis(t *testing.T) {
	const password = "s3cr3t"
	s := redistest.Start(t, "--requirepass", password)
	for _, protocol := range []string{"2", "3"} {
		t.Run("RESP"+protocol, func(t *testing.T) {
			setenv(t, map[string]string{"LOCKS_REDIS_URL": "redis://:" + password + "@" + s.Addr + "?protocol=" + protocol, "LOCKS_TIMEOUT": "1s"})
			if log := use(t); !strings.Contains(log, s.Addr) || strings.Contains(log, password) {
				t.Errorf("log %s: want the address and no password", log)
			}
		})
	}
}

// Open does not connect, and does not say that it has.
func TestRedisThatIsAway(t *testing.T) {
	setenv(t, map[string]string{"LOCKS_REDIS_URL": "redis://127.0.0.1:1"})
	var log bytes.Buffer
	l, err := Open("billing", slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if !strings.Contains(log.String(), "locks will be in Redis") {
		t.Errorf("log %s; want that locks will be in Redis", log.String())
	}
}

func TestNothingSet(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"HOME", "XDG_CACHE_HOME", "LocalAppData"} {
		t.Setenv(name, dir)
	}
	setenv(t, map[string]string{"LOCKS_TIMEOUT": "20ms"})
	if log := use(t); !strings.Contains(log, "level=WARN") {
		t.Errorf("log %s: no warning", log)
	}
}

func TestNothingSetAndNoCacheDirectory(t *testing.T) {
	setenv(t, nil)
	for what, home := range map[string]string{"unknown": "", "a file": os.Args[0]} {
		t.Run(what, func(t *testing.T) {
			for _, name := range []string{"HOME", "XDG_CACHE_HOME", "LocalAppData"} {
				t.Setenv(name, home)
			}
			_, err := Open("billing", slog.New(slog.DiscardHandler))
			if err == nil || !strings.Contains(err.Error(), "set LOCKS_REDIS_URL or LOCKS_DIR") {
				t.Errorf("Open: %v; want an error that says which variables to set", err)
			}
		})
	}
}

func TestMistakes(t *testing.T) {
	for name, env := range map[string]map[string]string{
		"LOCKS_TIMEOUT":        {"LOCKS_TIMEOUT": "10"},
		"LOCKS_CHECK_INTERVAL": {"LOCKS_CHECK_INTERVAL": "-1s"},
		"LOCKS_REDIS_URL":      {"LOCKS_REDIS_URL": "redis://:s3cr3t@host:port"},
		"LOCKS_DIR":            {"LOCKS_DIR": os.Args[0]}, // a file
	} {
		t.Run(name, func(t *testing.T) {
			setenv(t, env)
			l, err := Open("billing", slog.New(slog.DiscardHandler))
			if l != nil || err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "s3cr3t") {
				t.Errorf("Open: %v, %v; want an error that names the variable and shows no password", l, err)
			}
		})
	}
}
