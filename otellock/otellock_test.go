package otellock_test

import (
	"context"
	"errors"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/golocker/locker"
	"github.com/golocker/locker/otellock"
)

// A shelf grants locks that can be lost.
type shelf struct {
	token uint64
	last  *book
}

type book struct {
	lost     func(error)
	released error
}

func (*shelf) Backend() string { return "shelf" }
func (*shelf) Close() error    { return nil }

func (s *shelf) Try(_ context.Context, a *locker.Attempt) (locker.Grant, error) {
	switch a.Name {
	case "taken":
		return locker.Grant{}, locker.ErrAlreadyLocked
	case "broken":
		return locker.Grant{}, errors.New("out of order")
	}
	s.token++
	s.last = &book{}
	return locker.Grant{Token: s.token, Hold: s.last}, nil
}

func (b *book) Watch(lost func(error))        { b.lost = lost }
func (b *book) Release(context.Context) error { return b.released }

func TestMetricsAndSpans(t *testing.T) {
	reader := sdkmetric.NewManualReader()
	spans := tracetest.NewSpanRecorder()
	tracers := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	lost := make(chan struct{}, 1)
	trace, err := otellock.Trace(otellock.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))),
		otellock.WithTracerProvider(tracers), otellock.WithNames())
	if err != nil {
		t.Fatal(err)
	}
	tell := trace.Lost
	trace.Lost = func(e locker.Event) { tell(e); lost <- struct{}{} }
	s := &shelf{}
	l := locker.NewBase(s, locker.WithTrace(trace))
	ctx, parent := tracers.Tracer("test").Start(t.Context(), "job")
	acquire := func() locker.Lock {
		lock, err := l.Acquire(ctx, "n")
		if err != nil {
			t.Fatal(err)
		}
		return lock
	}
	_ = acquire().Release(ctx)
	lock := acquire()
	s.last.released = errors.New("no answer")
	_ = lock.Release(ctx)
	acquire()
	s.last.lost(errors.New("cut"))
	<-lost
	acquire() // is held
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	for name, ctx := range map[string]context.Context{"": ctx, "broken": ctx, "ended": cancelled} {
		if _, err := l.Acquire(ctx, name); err == nil {
			t.Errorf("%q: no error", name)
		}
	}
	if _, err := l.Acquire(ctx, "taken", locker.WithTimeout(0)); err == nil {
		t.Error("no error")
	}
	waits, stop := context.WithCancel(ctx)
	tellWaiting := trace.Waiting
	trace.Waiting = func(ctx context.Context, e locker.Event) { tellWaiting(ctx, e); stop() }
	if _, err := l.Acquire(waits, "taken", locker.WithTimeout(locker.NoTimeout)); err == nil {
		t.Error("no error")
	}
	parent.End()

	var data metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &data); err != nil {
		t.Fatal(err)
	}
	got := make(map[string]int64)
	for _, scope := range data.ScopeMetrics {
		for _, m := range scope.Metrics {
			key := func(set attribute.Set) string {
				text := m.Name
				for _, k := range []attribute.Key{"locker.backend", "locker.name", "locker.outcome"} {
					if v, ok := set.Value(k); ok {
						text += " " + v.AsString()
					}
				}
				return text
			}
			switch d := m.Data.(type) {
			case metricdata.Histogram[float64]:
				for _, p := range d.DataPoints {
					got[key(p.Attributes)] = int64(p.Count) //nolint:gosec // it is small
					if p.Sum < 0 {
						t.Errorf("%s: negative", key(p.Attributes))
					}
				}
			case metricdata.Sum[int64]:
				for _, p := range d.DataPoints {
					got[key(p.Attributes)] = p.Value
				}
			}
		}
	}
	want := map[string]int64{
		"locker.acquire.duration shelf n acquired":           4,
		"locker.acquire.duration shelf  invalid":             1,
		"locker.acquire.duration shelf broken unavailable":   1,
		"locker.acquire.duration shelf ended canceled":       1,
		"locker.acquire.duration shelf taken already_locked": 1,
		"locker.acquire.duration shelf taken canceled":       1,
		"locker.hold.duration shelf n released":              1,
		"locker.hold.duration shelf n unconfirmed":           1,
		"locker.hold.duration shelf n lost":                  1,
		"locker.held shelf n":                                1,
		"locker.waits shelf taken":                           1,
	}
	for k, n := range want {
		if got[k] != n {
			t.Errorf("%s = %d, want %d", k, got[k], n)
		}
		delete(got, k)
	}
	delete(got, "locker.waits shelf n") // for the end of the release before, if it takes a moment
	if len(got) > 0 {
		t.Errorf("and %v", got)
	}
	failed, children := 0, 0
	for _, span := range spans.Ended() {
		if span.Name() != "locker.acquire" {
			continue
		}
		children++
		if span.Status().Code == codes.Error {
			failed++
		}
		if span.Parent().SpanID() != parent.SpanContext().SpanID() || span.EndTime().Before(span.StartTime()) {
			t.Errorf("a span of %v to %v, child of %v", span.StartTime(), span.EndTime(), span.Parent().SpanID())
		}
	}
	if children != 9 || failed != 5 {
		t.Errorf("%d spans, %d failed; want 9 and 5", children, failed)
	}
}
