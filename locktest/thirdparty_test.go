package locktest_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/golocker/locker"
	"github.com/golocker/locker/locktest"
)

// TestThirdParty runs the suite against a backend that knows no more of this
// module than its users do.
func TestThirdParty(t *testing.T) {
	locktest.Run(t, thirdParty())
}

func thirdParty() locktest.Harness {
	return locktest.Harness{
		New: func(t testing.TB) string { return t.TempDir() },
		Open: func(_ testing.TB, addr string, opts ...locker.Option) locker.Locker {
			return openThirdParty(addr, opts...)
		},
		CrossProcess: true,
		Recovery:     0, // the file of a killed holder stays
		Break: func(t testing.TB, addr string, held locker.Lock) {
			if err := os.Remove(thirdPartyDriver{addr}.path(held.Name(), "lock")); err != nil {
				t.Fatal(err)
			}
		},
	}
}

func openThirdParty(dir string, opts ...locker.Option) locker.Locker {
	return locker.NewBase(thirdPartyDriver{dir}, opts...)
}

// A thirdPartyDriver holds a lock by a file that must not have existed before.
type thirdPartyDriver struct{ dir string }

func (d thirdPartyDriver) path(name, ext string) string {
	return filepath.Join(d.dir, fmt.Sprintf("%x.%s", sha256.Sum256([]byte(name)), ext))
}

func (d thirdPartyDriver) Backend() string { return "third party" }
func (d thirdPartyDriver) Close() error    { return nil }

func (d thirdPartyDriver) Try(_ context.Context, a *locker.Attempt) (locker.Grant, error) {
	lock, tokens := d.path(a.Name, "lock"), d.path(a.Name, "token")
	f, err := os.OpenFile(lock, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return locker.Grant{}, locker.ErrAlreadyLocked
	}
	if err != nil {
		return locker.Grant{}, err
	}
	defer f.Close()
	var token uint64
	if b, err := os.ReadFile(tokens); err == nil {
		_, _ = fmt.Sscan(string(b), &token)
	}
	token++
	if err = os.WriteFile(tokens, fmt.Append(nil, token), 0o600); err == nil {
		_, err = fmt.Fprint(f, token)
	}
	if err != nil {
		return locker.Grant{}, errors.Join(err, os.Remove(lock))
	}
	return locker.Grant{Token: token, Hold: thirdPartyHold{lock, token}}, nil
}

type thirdPartyHold struct {
	lock  string
	token uint64
}

// Check reads the token in the file, which another holder's is not the same as.
func (h thirdPartyHold) Check() error {
	switch b, err := os.ReadFile(h.lock); {
	case err != nil:
		return err
	case string(b) != fmt.Sprint(h.token):
		return errors.New("the file is another holder's")
	}
	return nil
}

func (h thirdPartyHold) Release(context.Context) error {
	if err := h.Check(); err != nil {
		return fmt.Errorf("%w: %w", locker.ErrLost, err)
	}
	return os.Remove(h.lock)
}
