// Package otellock tells OpenTelemetry what becomes of locks. Give its Trace to the
// constructor of a Locker:
//
//	trace, err := otellock.Trace()
//	...
//	locks, err := redislock.New(client, nil, locker.WithTrace(trace))
//
// The metrics, all with the attribute locker.backend ("redis"):
//
//	locker.acquire.duration  histogram, s: how long Acquires took, with locker.outcome:
//	                         acquired, already_locked (also after a wait), unavailable,
//	                         canceled (ctx has ended), closed or invalid
//	locker.waits             counter: Acquires that had to wait
//	locker.hold.duration     histogram, s: how long locks were held, with locker.outcome:
//	                         released, unconfirmed (the backend did not answer) or lost
//	locker.held              up-down counter: locks that are held
//
// A loss is a hold whose outcome is lost. There is a span for each Acquire,
// "locker.acquire", a child of that of its ctx, with the name of the lock.
//
// It is a module of its own, so that the library does not need OpenTelemetry.
package otellock

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/golocker/locker"
)

const scope = "github.com/golocker/locker/otellock"

// An Option changes what Trace tells, and whom.
type Option func(*options)

type options struct {
	meters  metric.MeterProvider
	tracers trace.TracerProvider
	names   bool
}

// WithMeterProvider sets where metrics go. The default is otel.GetMeterProvider.
func WithMeterProvider(p metric.MeterProvider) Option { return func(o *options) { o.meters = p } }

// WithTracerProvider sets where spans go. The default is otel.GetTracerProvider.
func WithTracerProvider(p trace.TracerProvider) Option { return func(o *options) { o.tracers = p } }

// WithNames adds the attribute locker.name to the metrics. Each name is time series of
// its own: it is for programs with few locks.
func WithNames() Option { return func(o *options) { o.names = true } }

// instruments are what a Trace tells.
type instruments struct {
	options
	tracer   trace.Tracer
	acquires metric.Float64Histogram
	waits    metric.Int64Counter
	holds    metric.Float64Histogram
	held     metric.Int64UpDownCounter
}

// Trace returns a Trace for [locker.WithTrace]. An error is that of a MeterProvider.
func Trace(opts ...Option) (*locker.Trace, error) {
	i := &instruments{options: options{meters: otel.GetMeterProvider(), tracers: otel.GetTracerProvider()}}
	for _, opt := range opts {
		opt(&i.options)
	}
	i.tracer = i.tracers.Tracer(scope)
	meter := i.meters.Meter(scope)
	// From a lock that is free to one that is waited for, and held, for minutes.
	buckets := metric.WithExplicitBucketBoundaries(0.00001, 0.0001, 0.001, 0.01, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
	var errs [4]error
	i.acquires, errs[0] = meter.Float64Histogram("locker.acquire.duration", metric.WithUnit("s"), metric.WithDescription("How long Acquires took."), buckets)
	i.waits, errs[1] = meter.Int64Counter("locker.waits", metric.WithDescription("Acquires that had to wait."))
	i.holds, errs[2] = meter.Float64Histogram("locker.hold.duration", metric.WithUnit("s"), metric.WithDescription("How long locks were held."), buckets)
	i.held, errs[3] = meter.Int64UpDownCounter("locker.held", metric.WithDescription("Locks that are held."))
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	return &locker.Trace{Waiting: i.waiting, Acquired: i.acquired, Lost: i.lost, Released: i.released}, nil
}

func (i *instruments) waiting(ctx context.Context, e locker.Event) {
	i.waits.Add(ctx, 1, i.attributes(e, ""))
}

func (i *instruments) acquired(ctx context.Context, e locker.Event) {
	outcome := outcomeOf(e.Err)
	i.acquires.Record(ctx, e.After.Seconds(), i.attributes(e, outcome))
	if e.Err == nil {
		i.held.Add(ctx, 1, i.attributes(e, ""))
	}
	now := time.Now()
	_, span := i.tracer.Start(ctx, "locker.acquire", trace.WithTimestamp(now.Add(-e.After)), trace.WithAttributes(
		attribute.String("locker.backend", e.Backend), attribute.String("locker.name", e.Name), attribute.String("locker.outcome", outcome)))
	if e.Err != nil {
		span.SetStatus(codes.Error, outcome)
		span.RecordError(e.Err, trace.WithTimestamp(now))
	}
	span.End(trace.WithTimestamp(now))
}

func (i *instruments) lost(e locker.Event) { i.over(e, "lost") }

func (i *instruments) released(e locker.Event) {
	switch {
	case e.Err == nil:
		i.over(e, "released")
	case errors.Is(e.Err, locker.ErrLost):
		i.over(e, "lost")
	default:
		i.over(e, "unconfirmed")
	}
}

// over tells that a lock is no longer held.
func (i *instruments) over(e locker.Event, outcome string) {
	ctx := context.Background()
	i.holds.Record(ctx, e.After.Seconds(), i.attributes(e, outcome))
	i.held.Add(ctx, -1, i.attributes(e, ""))
}

func (i *instruments) attributes(e locker.Event, outcome string) metric.MeasurementOption {
	all := []attribute.KeyValue{attribute.String("locker.backend", e.Backend)}
	if outcome != "" {
		all = append(all, attribute.String("locker.outcome", outcome))
	}
	if i.names {
		all = append(all, attribute.String("locker.name", e.Name))
	}
	return metric.WithAttributeSet(attribute.NewSet(all...))
}

func outcomeOf(err error) string {
	switch {
	case err == nil:
		return "acquired"
	case errors.Is(err, locker.ErrAlreadyLocked):
		return "already_locked"
	case errors.Is(err, locker.ErrClosed):
		return "closed"
	case errors.Is(err, locker.ErrInvalid):
		return "invalid"
	case errors.Is(err, locker.ErrUnavailable):
		return "unavailable"
	default:
		return "canceled"
	}
}
