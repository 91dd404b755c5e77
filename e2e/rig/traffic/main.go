// Command traffic is what runs in the pods of the end-to-end tests, and what they
// call. It is one static program, so that an image needs nothing else.
//
//	traffic pause                       does nothing until it is told to stop
//	traffic serve PROTOCOL/ADDRESS…     answers calls, and prints a line for each
//	traffic call [flags] PROTOCOL/ADDRESS…
//	traffic flood [flags] ADDRESS       makes many connections, of a datagram each
//
// A protocol is tcp or udp. A caller says who it is in the first line that it sends,
// as the path of a URL ("GET /UID"). What a server prints is the truth that the tests
// hold answers against: JSON lines with the time (Unix milliseconds), the protocol's
// number, the address that the call came from, the one that it came to, and the UID.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "traffic:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("got no command, want pause, serve, call or flood")
	}
	switch args[0] {
	case "pause":
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
		<-stop
		return nil
	case "serve":
		return serve(args[1:])
	case "call":
		return call(args[1:])
	case "flood":
		return flood(args[1:])
	default:
		return fmt.Errorf("command is %q, want pause, serve, call or flood", args[0])
	}
}

// served is the line for a call.
type served struct {
	Time     int64  `json:"time"`
	Protocol uint8  `json:"protocol"`
	From     string `json:"from"`
	To       string `json:"to"`
	UID      string `json:"uid"`
}

// printer prints the calls of all servers.
type printer struct {
	mu  sync.Mutex
	out *json.Encoder
}

func (p *printer) print(s served) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.out.Encode(s) // a call that is not printed is a call without truth, which the tests notice
}

// serve answers until the program is killed.
func serve(targets []string) error {
	p := &printer{out: json.NewEncoder(os.Stdout)}
	failed := make(chan error)
	for _, t := range targets {
		network, address, err := target(t)
		if err != nil {
			return err
		}
		if network == "udp" {
			c, err := net.ListenPacket(network, address)
			if err != nil {
				return err
			}
			go func() { failed <- p.packets(c) }()
			continue
		}
		l, err := net.Listen(network, address)
		if err != nil {
			return err
		}
		go func() { failed <- p.connections(l) }()
	}
	return <-failed
}

// packets answers each datagram with one.
func (p *printer) packets(c net.PacketConn) error {
	buf := make([]byte, 2048)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return err
		}
		p.print(served{time.Now().UnixMilli(), syscall.IPPROTO_UDP, from.String(), c.LocalAddr().String(), path(string(buf[:n]))})
		if _, err := c.WriteTo([]byte("served\n"), from); err != nil {
			return err
		}
	}
}

func (p *printer) connections(l net.Listener) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go p.connection(c)
	}
}

// connection answers line by line. After an empty line it hangs up, so that it is the
// server who waits for the connection to be forgotten, and the caller's port is free.
func (p *printer) connection(c net.Conn) {
	defer c.Close()
	for lines := bufio.NewScanner(c); lines.Scan() && lines.Text() != ""; {
		p.print(served{time.Now().UnixMilli(), syscall.IPPROTO_TCP, c.RemoteAddr().String(), c.LocalAddr().String(), path(lines.Text())})
		if _, err := fmt.Fprintln(c, "served"); err != nil {
			return
		}
	}
}

// path is the UID of a line "GET /UID".
func path(line string) string {
	_, uid, _ := strings.Cut(strings.TrimSpace(line), "/")
	return uid
}

func target(s string) (network, address string, err error) {
	network, address, _ = strings.Cut(s, "/")
	if (network != "tcp" && network != "udp") || address == "" {
		return "", "", fmt.Errorf("target is %q, want tcp/ADDRESS:PORT or udp/ADDRESS:PORT", s)
	}
	return network, address, nil
}

// caller calls its targets, all at once.
type caller struct {
	uid   string
	every time.Duration // between two calls
	hold  time.Duration // how long a call lasts; it says something each second
	count int           // calls of each target; 0 is without end
}

func call(args []string) error {
	flags := flag.NewFlagSet("call", flag.ContinueOnError)
	c := &caller{}
	flags.StringVar(&c.uid, "uid", "", "who calls")
	flags.DurationVar(&c.every, "every", time.Second, "time between two calls")
	flags.DurationVar(&c.hold, "hold", 0, "how long a call lasts")
	flags.IntVar(&c.count, "count", 0, "calls, 0 is without end")
	deaf := flags.Bool("deaf", false, "do not stop when told to")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *deaf {
		signal.Ignore(syscall.SIGTERM)
	}
	var all sync.WaitGroup
	for _, t := range flags.Args() {
		network, address, err := target(t)
		if err != nil {
			return err
		}
		all.Go(func() { c.calls(network, address) })
	}
	all.Wait()
	return nil
}

// calls calls one target. Each call is a connection of its own. That one fails is part
// of what is tried: it is said, and the next follows.
func (c *caller) calls(network, address string) {
	tick := time.NewTicker(c.every)
	defer tick.Stop()
	for n := 1; ; n++ {
		if err := c.once(network, address); err != nil {
			fmt.Fprintln(os.Stderr, "traffic: call:", err)
		}
		if n == c.count {
			return
		}
		<-tick.C
	}
}

// patience is how long a call waits for an answer.
const patience = 5 * time.Second

func (c *caller) once(network, address string) error {
	conn, err := net.DialTimeout(network, address, patience)
	if err != nil {
		return err
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	for end := time.Now().Add(c.hold); ; time.Sleep(time.Second) {
		if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(conn, "GET /%s\n", c.uid); err != nil {
			return err
		}
		if _, err := answers.ReadString('\n'); err != nil {
			return err
		}
		if !time.Now().Before(end) {
			break
		}
	}
	if network == "udp" {
		return nil
	}
	if _, err := fmt.Fprintln(conn); err != nil {
		return err
	}
	if _, err := answers.ReadByte(); err != io.EOF { // the server hangs up first
		return fmt.Errorf("the server does not hang up: %v", err)
	}
	return nil
}
