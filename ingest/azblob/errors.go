package azblob

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/whichpod/whichpod/ingest"
)

// Error is a request that the service refused or that did not reach it.
type Error struct {
	Account, Container string
	Status             int    // HTTP; 0 where there was no answer
	Code               string // the service's, such as ContainerNotFound
	Denied             bool   // the credentials are missing, wrong or do not suffice

	what  string
	needs string // of rights, where it is not those of a reader
	err   error
}

func (e *Error) Error() string {
	at := fmt.Sprintf("%s in %s", e.what, place{account: e.Account, container: e.Container})
	switch {
	case e.Denied:
		needs := e.needs
		if needs == "" {
			needs = "a signature with read and list, the account's key, or the role Storage Blob Data Reader"
		}
		return fmt.Sprintf("%s: access denied (%d %s): want %s", at, e.Status, e.Code, needs)
	case e.Code == "ContainerNotFound":
		return at + ": there is no such container"
	case e.Status != 0:
		return fmt.Sprintf("%s: the service answered %d %s", at, e.Status, e.Code)
	}
	return at + ": " + e.err.Error()
}

func (e *Error) Unwrap() error { return e.err }

// failed turns an error of the SDK into one without secrets. The SDK's own text is
// dropped where it may hold the URL with its signature, and so is its error.
func (p place) failed(what string, err error) error {
	if ctxErr := contextError(err); ctxErr != nil {
		return fmt.Errorf("%s in %s: %w", what, p, ctxErr)
	}
	e := &Error{Account: p.account, Container: p.container, what: what}
	var resp *azcore.ResponseError
	var auth *azidentity.AuthenticationFailedError
	var transport *url.Error
	switch {
	case errors.As(err, &resp):
		e.Status, e.Code = resp.StatusCode, resp.ErrorCode
		switch resp.StatusCode {
		case http.StatusPreconditionFailed:
			return fmt.Errorf("%s in %s: %w", what, p, ingest.ErrChanged)
		case http.StatusNotFound:
			if resp.ErrorCode == "BlobNotFound" {
				return fmt.Errorf("%s in %s: %w: it is gone", what, p, ingest.ErrChanged)
			}
		case http.StatusUnauthorized, http.StatusForbidden:
			e.Denied = true
		}
	case errors.As(err, &auth):
		e.Denied, e.Code = true, "no token"
	case errors.As(err, &transport):
		e.err = transport.Err
	default:
		e.err = err
	}
	return e
}

func contextError(err error) error {
	for _, c := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, c) {
			return c
		}
	}
	return nil
}
