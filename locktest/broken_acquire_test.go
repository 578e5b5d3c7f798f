package locktest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/golocker/locker"
)

func brokenErrors() []broken {
	return []broken{
		{"fail-when-locked-waits", "Errors/HeldFailWhenLocked", adding(func(a asked) []locker.Option {
			if a.wait || a.timeout == 0 {
				return nil
			}
			return []locker.Option{locker.WithFailWhenLocked(false), locker.WithTimeout(50 * time.Millisecond)}
		})},
		{"timeout-0-waits", "Errors/HeldTimeoutZero", adding(func(a asked) []locker.Option {
			if a.wait || a.timeout != 0 {
				return nil
			}
			return []locker.Option{locker.WithFailWhenLocked(false), locker.WithTimeout(50 * time.Millisecond)}
		})},
		{"timeout-is-not-told", "Errors/HeldUntilTimeout", replacing(locker.ErrTimeout, locker.ErrAlreadyLocked)},
		{"timeout-is-a-deadline", "Errors/HeldUntilTimeout", replacing(locker.ErrTimeout, context.DeadlineExceeded)},
		{"loses-the-cause-of-ctx", "Errors/ContextCanceled", replacing(context.Canceled, context.Canceled)},
		{"loses-the-error-of-ctx", "Errors/ContextCanceled", replacing(context.Canceled, errors.New("interrupted"))},
		{"deadline-is-a-timeout", "Errors/ContextDeadline", replacing(context.DeadlineExceeded, locker.ErrTimeout)},
		{"closed-is-another-error", "Errors/ClosedBefore", replacing(locker.ErrClosed, os.ErrClosed)},
		{"closed-is-a-cancel", "Errors/ClosedWhileWaiting", replacing(locker.ErrClosed, context.Canceled)},
		{"error-is-not-an-Error", "Errors/HeldTimeoutZero", failing(func(err *locker.Error) error { return err.Err })},
		{"error-of-another-op", "Errors/HeldTimeoutZero", failing(func(err *locker.Error) error { err.Op = "lock"; return err })},
		{"error-without-backend", "Errors/HeldTimeoutZero", failing(func(err *locker.Error) error { err.Backend = ""; return err })},
		{"error-in-two-lines", "Errors/HeldTimeoutZero", failing(func(err *locker.Error) error {
			err.Err = errors.Join(err.Err, errors.New("ask again later"))
			return err
		})},
		{"error-matches-too-much", "Errors/HeldFailWhenLocked", failing(func(err *locker.Error) error {
			err.Err = fmt.Errorf("%w: %w", locker.ErrUnavailable, err.Err)
			return err
		})},
		{"error-with-a-lock", "Errors/HeldFailWhenLocked", acquiring(func(l locker.Locker) acquireFunc {
			return func(ctx context.Context, name string, opts ...locker.Option) (locker.Lock, error) {
				lock, err := l.Acquire(ctx, name, opts...)
				if err != nil && ask(opts).timeout > 0 {
					return (*changed)(nil), err
				}
				return lock, err
			}
		})},
		{"accepts-an-empty-name", "Errors/Invalid/NameEmpty", renaming(func(name string) string {
			if name == "" {
				return "default"
			}
			return name
		})},
		{"accepts-a-long-name", "Errors/Invalid/NameTooLong", renaming(func(name string) string { return name[:min(len(name), 1024)] })},
		{"accepts-a-name-not-UTF-8", "Errors/Invalid/NameNotUTF8", renaming(func(name string) string { return strings.ToValidUTF8(name, "?") })},
		{"accepts-check-interval-0", "Errors/Invalid/CheckIntervalZero", adding(func(a asked) []locker.Option {
			if a.checkInterval > 0 {
				return nil
			}
			return []locker.Option{locker.WithCheckInterval(time.Second)}
		})},
		{"invalid-comes-after-held", "Errors/Invalid/CheckIntervalNegative", acquiring(func(l locker.Locker) acquireFunc {
			return func(ctx context.Context, name string, opts ...locker.Option) (locker.Lock, error) {
				lock, err := l.Acquire(ctx, name, append(opts, locker.WithTimeout(0), locker.WithCheckInterval(time.Second))...)
				if err == nil {
					_ = lock.Release(ctx)
				} else if ask(opts).checkInterval == 0 { // what was asked for is not valid
					return nil, err
				}
				return l.Acquire(ctx, name, opts...)
			}
		})},
	}
}

func brokenOptions() []broken {
	place := inMemory(nil)
	ignored := place
	ignored.Open = func(t testing.TB, addr string, _ ...locker.Option) locker.Locker { return place.Open(t, addr) }
	winning := inMemory(func(l locker.Locker, _ string, defaults []locker.Option) locker.Locker {
		return &wrapped{Locker: l, acquire: func(ctx context.Context, name string, opts ...locker.Option) (locker.Lock, error) {
			return l.Acquire(ctx, name, append(opts, defaults...)...)
		}}
	})
	return []broken{
		{"ignores-options-of-constructor", "Options/OfTheConstructorAreDefaults", ignored},
		{"prefers-options-of-constructor", "Options/OfAcquireWin", winning},
	}
}
