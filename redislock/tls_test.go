package redislock_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/redistest"
)

// All that holds for a lock holds with TLS, and for the user of the README.
func TestConformanceTLS(t *testing.T) {
	conformance(t, func(t testing.TB) string {
		s, dir := startTLS(t)
		setAnyNameUser(t, s)
		return "rediss://myapp:password@" + s.Addr + "#" + dir
	})
}

// A server with TLS that cannot be talked to is an ErrUnavailable that says what is
// wrong, within the limits of the client and without the password of the URL.
func TestTLSRefused(t *testing.T) {
	t.Parallel()
	const password = "s3cret-p4ssw0rd"
	s, dir := startTLS(t)
	other := tlsConfig(t, newAuthority(t))
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for _, tt := range []struct {
		name   string
		addr   string
		change func(*redis.Options)
		says   string
		is     func(error) bool
	}{
		{"no client certificate", s.Addr, func(o *redis.Options) { o.TLSConfig.Certificates = nil },
			"tls: certificate required", as[*net.OpError]},
		{"client certificate of another authority", s.Addr, func(o *redis.Options) { o.TLSConfig.Certificates = other.Certificates },
			"tls: unknown certificate authority", as[*net.OpError]},
		{"server certificate of another authority", s.Addr, func(o *redis.Options) { o.TLSConfig.RootCAs = other.RootCAs },
			"x509: certificate signed by unknown authority", as[x509.UnknownAuthorityError]},
		{"server certificate for another name", s.Addr, func(o *redis.Options) { o.TLSConfig.ServerName = "redis.example" },
			"redis.example", as[x509.HostnameError]},
		{"server that says nothing", silent.Addr().String(), func(o *redis.Options) { o.DialTimeout = 100 * time.Millisecond },
			"with TLS: dial tcp: i/o timeout", as[*net.OpError]},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := urlOptions(t, "rediss://default:"+password+"@"+tt.addr+"#"+dir)
			if tt.change != nil {
				tt.change(o)
			}
			_, err := openWith(t, client(t, o), nil).Acquire(t.Context(), "n", locker.WithTimeout(time.Minute))
			if !errors.Is(err, locker.ErrUnavailable) || !strings.Contains(err.Error(), tt.says) || !tt.is(err) {
				t.Errorf("Acquire: %v, want ErrUnavailable that says %q", err, tt.says)
			}
			if err != nil && strings.Contains(err.Error(), password) {
				t.Errorf("the error shows the password: %v", err)
			}
		})
	}
}

func as[E error](err error) bool { return errors.As(err, new(E)) }

// A server that has refused the certificate, and is gone before the first command is
// sent, is not just a connection that was reset.
func TestTLSRefusedBeforeTheFirstCommand(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("a reset may take what came before it with it")
	}
	dir := newAuthority(t)
	certificate, err := tls.LoadX509KeyPair(filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key"))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		_ = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequireAnyClientCert}).Handshake()
		_ = conn.(*net.TCPConn).SetLinger(0) // resets it, as what the client has sent since then does
		conn.Close()
	}()
	o := urlOptions(t, "rediss://"+listener.Addr().String()+"?protocol=2#"+dir) // with RESP3 go-redis may look before it writes
	o.TLSConfig.Certificates = nil
	o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := redis.NewDialer(o)(ctx, network, addr)
		<-gone
		return conn, err
	}
	_, err = openWith(t, client(t, o), nil).Acquire(t.Context(), "n")
	if !errors.Is(err, locker.ErrUnavailable) || !strings.Contains(err.Error(), "tls: certificate required") {
		t.Errorf("Acquire: %v, want ErrUnavailable that says what the server has said", err)
	}
}

// startTLS starts a server that wants client certificates. dir has those of its
// authority.
func startTLS(t testing.TB) (s *redistest.Server, dir string) {
	t.Helper()
	dir = newAuthority(t)
	file := func(name string) string { return filepath.Join(dir, name) }
	return redistest.StartTLS(t, tlsConfig(t, dir), "--tls-auth-clients", "yes", "--tls-ca-cert-file", file("ca.crt"),
		"--tls-cert-file", file("server.crt"), "--tls-key-file", file("server.key")), dir
}

// tlsConfig is that of a client of the authority in dir.
func tlsConfig(t testing.TB, dir string) *tls.Config {
	t.Helper()
	ca, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	client, err := tls.LoadX509KeyPair(filepath.Join(dir, "client.crt"), filepath.Join(dir, "client.key"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	return &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{client}}
}

// newAuthority makes a directory with the certificates of a new authority, of a
// server at the loopback interface and of a client, and their keys.
func newAuthority(t testing.TB) (dir string) {
	t.Helper()
	dir = t.TempDir()
	issue := func(name string, cert, issuer *x509.Certificate, by *ecdsa.PrivateKey) *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if by == nil {
			by = key
		}
		cert.Subject = pkix.Name{CommonName: name, Organization: []string{dir}} // an authority is known by its name
		cert.SerialNumber = big.NewInt(time.Now().UnixNano())
		cert.NotBefore, cert.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, cert, issuer, &key.PublicKey, by)
		if err != nil {
			t.Fatal(err)
		}
		writePEM(t, filepath.Join(dir, name+".crt"), "CERTIFICATE", der)
		if der, err = x509.MarshalPKCS8PrivateKey(key); err != nil {
			t.Fatal(err)
		}
		writePEM(t, filepath.Join(dir, name+".key"), "PRIVATE KEY", der)
		return key
	}
	ca := &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	key := issue("ca", ca, ca, nil)
	issue("server", &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, ca, key)
	issue("client", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, ca, key)
	return dir
}

func writePEM(t testing.TB, file, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}
