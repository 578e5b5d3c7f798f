package lockurl

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/redislock"
)

// settings are what the options of a URL say.
type settings struct {
	acquire []locker.Option
	redis   redislock.Options
}

// An option is a parameter of a URL that is not one of go-redis.
type option struct {
	name string
	set  func(s *settings, value string) error
}

// acquireOptions are those of every scheme.
var acquireOptions = []option{
	{"timeout", with(timeout, locker.WithTimeout)},
	{"check_interval", with(positive, locker.WithCheckInterval)},
	{"fail_when_locked", with(boolean, locker.WithFailWhenLocked)},
}

// redisOptions are those of the schemes for Redis.
var redisOptions = slices.Concat(acquireOptions, []option{
	{"unavailable_timeout", field(duration, func(o *redislock.Options) *time.Duration { return &o.UnavailableTimeout })},
	{"settle_time", field(duration, func(o *redislock.Options) *time.Duration { return &o.SettleTime })},
	{"health_check_interval", field(duration, func(o *redislock.Options) *time.Duration { return &o.HealthCheckInterval })},
	{"portalocker_names", field(boolean, func(o *redislock.Options) *bool { return &o.PortalockerNames })},
})

// with returns how to set an option of Acquire.
func with[T any](parse func(string) (T, error), option func(T) locker.Option) func(*settings, string) error {
	return func(s *settings, value string) error {
		v, err := parse(value)
		s.acquire = append(s.acquire, option(v))
		return err
	}
}

// field returns how to set a field of [redislock.Options].
func field[T any](parse func(string) (T, error), of func(*redislock.Options) *T) func(*settings, string) error {
	return func(s *settings, value string) (err error) {
		*of(&s.redis), err = parse(value)
		return err
	}
}

// take moves options from the parameters of a URL to the settings.
func (s *settings) take(options []option, parameters url.Values) error {
	for _, o := range options {
		all := parameters[o.name]
		delete(parameters, o.name)
		if len(all) > 1 {
			return fmt.Errorf("option %s is there %d times", o.name, len(all))
		}
		for _, value := range all {
			if err := o.set(s, value); err != nil {
				return fmt.Errorf("option %s=%q %w", o.name, value, err)
			}
		}
	}
	return nil
}

func duration(value string) (time.Duration, error) {
	d, err := time.ParseDuration(value)
	if err != nil || d < 0 {
		err = errors.New("must be a duration like 1.5s, and not negative")
	}
	return d, err
}

func timeout(value string) (time.Duration, error) {
	if value == "none" {
		return locker.NoTimeout, nil
	}
	return duration(value)
}

func positive(value string) (time.Duration, error) {
	d, err := duration(value)
	if err == nil && d == 0 {
		err = errors.New("must be positive")
	}
	return d, err
}

func boolean(value string) (bool, error) {
	b, err := strconv.ParseBool(value)
	if err != nil {
		err = errors.New("is neither true nor false")
	}
	return b, err
}

// names lists options for an error.
func names(options []option) string {
	var all []string
	for _, o := range options {
		all = append(all, o.name)
	}
	return strings.Join(all, ", ")
}
