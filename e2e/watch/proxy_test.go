//go:build e2e

package watch_test

import (
	"net"
	"strconv"
	"sync"
	"testing"

	"github.com/whichpod/whichpod/e2e/process"
)

// proxy stands between whichpod and the API server, and does to its connections what
// networks do.
type proxy struct {
	listener net.Listener
	to       string

	mu      sync.Mutex
	conns   map[*net.TCPConn]bool
	refuses bool
	flows   chan struct{} // closed while bytes flow
}

// newProxy listens on loopback until the test ends.
func newProxy(t *testing.T, port int) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	process.Must(t, err)
	p := &proxy{listener: l, to: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), conns: make(map[*net.TCPConn]bool), flows: make(chan struct{})}
	close(p.flows)
	var done sync.WaitGroup
	done.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed
			}
			done.Go(func() { p.serve(c.(*net.TCPConn)) })
		}
	})
	t.Cleanup(func() { l.Close(); p.flow(true); p.cut(); done.Wait() })
	return p
}

func (p *proxy) port() int { return p.listener.Addr().(*net.TCPAddr).Port }

// serve carries one connection.
func (p *proxy) serve(near *net.TCPConn) {
	if !p.keep(near) {
		return
	}
	defer p.drop(near)
	c, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	far := c.(*net.TCPConn)
	if !p.keep(far) {
		return
	}
	defer p.drop(far)
	var both sync.WaitGroup
	both.Go(func() { p.copy(far, near) })
	both.Go(func() { p.copy(near, far) })
	both.Wait()
}

// copy carries bytes in one direction, while they flow.
func (p *proxy) copy(to, from *net.TCPConn) {
	defer p.drop(to)
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		flows := p.flows
		p.mu.Unlock()
		<-flows
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// keep notes a connection, or closes it where none is wanted.
func (p *proxy) keep(c *net.TCPConn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refuses {
		c.Close()
		return false
	}
	p.conns[c] = true
	return true
}

func (p *proxy) drop(c *net.TCPConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
	c.Close()
}

// cut breaks all connections off, in the middle of whatever they carry.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.SetLinger(0)
		c.Close()
	}
}

// refuse cuts, and takes no connections until told otherwise.
func (p *proxy) refuse(on bool) {
	p.mu.Lock()
	p.refuses = on
	p.mu.Unlock()
	p.cut()
}

// flow lets bytes through, or holds them: the connections stay, and say nothing.
func (p *proxy) flow(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.flows:
		if !on {
			p.flows = make(chan struct{})
		}
	default:
		if on {
			close(p.flows)
		}
	}
}
