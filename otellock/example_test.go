package otellock_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	"github.com/golocker/locker"
	"github.com/golocker/locker/memlock"
	"github.com/golocker/locker/otellock"
)

// What Prometheus scrapes of a program that has taken a lock three times, and was refused it
// as often.
func Example() {
	ctx := context.Background()
	registry := prometheus.NewRegistry()
	exporter, err := otelprometheus.New(otelprometheus.WithRegisterer(registry), otelprometheus.WithoutScopeInfo())
	if err != nil {
		fmt.Println(err)
		return
	}
	trace, err := otellock.Trace(otellock.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(exporter))))
	if err != nil {
		fmt.Println(err)
		return
	}
	locks := memlock.New(locker.WithTrace(trace))
	for range 3 {
		_ = locker.Do(ctx, locks, "nightly-report", func(context.Context, locker.Lock) error {
			_, _ = locks.Acquire(ctx, "nightly-report", locker.WithTimeout(0)) // is refused
			return nil
		})
	}
	scrape := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(scrape, httptest.NewRequest("GET", "/metrics", nil))
	for line := range strings.Lines(scrape.Body.String()) {
		if strings.Contains(line, "_count{") || strings.HasPrefix(line, "locker_held") {
			fmt.Print(line)
		}
	}
	// Output:
	// locker_acquire_duration_seconds_count{locker_backend="memory",locker_outcome="acquired"} 3
	// locker_acquire_duration_seconds_count{locker_backend="memory",locker_outcome="already_locked"} 3
	// locker_held{locker_backend="memory"} 0
	// locker_hold_duration_seconds_count{locker_backend="memory",locker_outcome="released"} 3
}
