package main

import (
	"context"
	"errors"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.uber.org/zap"
)

func etcdContenders() []contender {
	return []contender{{
		name: "etcd", place: inEtcd, open: openEtcd, ttl: time.Minute,
		settings: "go.etcd.io/etcd/client/v3/concurrency: NewSession and NewMutex with their defaults (TTL 60 s, kept alive by the session), one session a client",
	}}
}

type etcdClient struct {
	client  *clientv3.Client
	session *concurrency.Session
}

func openEtcd(ctx context.Context, p places) (client, error) {
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{p.Etcd}, DialTimeout: 5 * time.Second, Logger: zap.NewNop(), Context: ctx})
	if err != nil {
		return nil, err
	}
	s, err := concurrency.NewSession(c)
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return &etcdClient{c, s}, nil
}

func (c *etcdClient) acquire(ctx context.Context, name string) (func() error, error) {
	m := concurrency.NewMutex(c.session, "/bench/"+name)
	if err := m.Lock(ctx); err != nil {
		return nil, err
	}
	return func() error { return m.Unlock(ctx) }, nil
}

func (c *etcdClient) close() error { return errors.Join(c.session.Close(), c.client.Close()) }
