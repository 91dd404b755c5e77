//go:build !linux

package natwatch

import "errors"

// OpenKernel fails: only Linux has this connection tracking.
func OpenKernel(func(string)) (Kernel, error) {
	return nil, errors.New("open connection tracking: only a Linux node has it")
}
