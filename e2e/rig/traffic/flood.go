package main

import (
	"flag"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// flood sends one datagram each to ports of an address, from 1 on, each of them a
// connection to who tracks them; past the last port it goes on from another source
// port, that given and those after it. It prints how many it sent.
func flood(args []string) error {
	flags := flag.NewFlagSet("flood", flag.ContinueOnError)
	from := flags.Int("from", 20000, "source port")
	count := flags.Int("n", 1000, "how many")
	rate := flags.Int("rate", 0, "how many a second; 0: as fast as they go")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return fmt.Errorf("flood: got %d addresses, want 1", flags.NArg())
	}
	to, err := netip.ParseAddr(flags.Arg(0))
	if err != nil {
		return err
	}
	const ports = 60000
	var socket *net.UDPConn
	begin := time.Now()
	for i := range *count {
		if i%ports == 0 {
			if socket, err = net.ListenUDP("udp", &net.UDPAddr{Port: *from + i/ports}); err != nil {
				return err
			}
			defer socket.Close()
		}
		if *rate > 0 && i%20 == 0 {
			time.Sleep(time.Until(begin.Add(time.Duration(i) * time.Second / time.Duration(*rate))))
		}
		if _, err := socket.WriteToUDPAddrPort([]byte{1}, netip.AddrPortFrom(to, uint16(1+i%ports))); err != nil {
			return err
		}
	}
	fmt.Printf("sent %d in %.3f s\n", *count, time.Since(begin).Seconds())
	return nil
}
