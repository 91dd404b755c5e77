package main

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/whichpod/whichpod/evidence/bundle"
	"github.com/whichpod/whichpod/evidence/claim"
	"github.com/whichpod/whichpod/evidence/keyvault"
	"github.com/whichpod/whichpod/evidence/stamp"
	"github.com/whichpod/whichpod/index"
	"github.com/whichpod/whichpod/ingest/azblob"
)

// signingKey names the environment variable that may hold the private key.
const signingKey = "WHICHPOD_SIGNING_KEY"

// bundleFlags are those of "export --bundle".
type bundleFlags struct {
	key, raw     string
	authority    string // of time stamps, a URL
	claims       []string
	since, until moment
	known        moment
	hold         azblob.Hold
}

// exportBundle writes the next bundle into a folder of them.
func (a *app) exportBundle(cmd *cobra.Command, out string, f *bundleFlags, windows *scheduleFlags) (err error) {
	if out == "" || out == "-" {
		return usage(cmd, "--bundle needs --out, the folder of bundles or a blob container's URL")
	}
	to, err := a.destination(cmd, out, f.hold)
	if err != nil {
		return err
	}
	key, err := a.signer(cmd, f.key)
	if err != nil {
		return err
	}
	if err := windows.check(cmd, f.until); err != nil {
		return err
	}
	defer func() { err = unstamped(err) }()
	if windows.scheduled() {
		return a.exportWindows(cmd.Context(), to, f, windows, key)
	}
	lock, err := to.Lock()
	if err != nil {
		return err
	}
	var s bundle.Summary
	err = a.withInput(f, func(in bundle.Input) (err error) {
		p := newProgress(a.stderr)
		defer p.done()
		in.Progress = p.rows
		if windows.amend != "" {
			s, err = a.exportAmendment(cmd.Context(), to, windows.amend, in, key)
		} else {
			s, err = bundle.Write(cmd.Context(), to, in, key)
		}
		return err
	})
	if err = errors.Join(err, lock.Close()); err != nil {
		return err
	}
	return a.printBundle(&s)
}

// unstamped says what to do about a bundle that got no time stamp.
func unstamped(err error) error {
	if errors.Is(err, bundle.ErrUnstamped) {
		return hinted{err, "no bundle was left; try again later, the chain goes on where it is, or leave out --timestamp"}
	}
	return err
}

// destination is where bundles go: a folder, or a container whose URL is given.
func (a *app) destination(cmd *cobra.Command, out string, hold azblob.Hold) (bundle.Destination, error) {
	switch {
	case hold.Locked && hold.Retain == 0:
		return nil, usage(cmd, "--locked needs --retain")
	case isURL(out):
		store, err := azblob.NewStore(out, hold, a.getenv)
		if err != nil {
			return nil, err
		}
		return &bundle.Container{Blobs: store, NotesPath: a.notesOf(out)}, store.Check(cmd.Context())
	case hold != azblob.Hold{}:
		return nil, usage(cmd, "--retain and --legal-hold need a blob container's URL as --out: a folder holds nothing back")
	default:
		return bundle.Folder(out), noOtherURL(out)
	}
}

// notesOf is where it is noted what was looked at of a container: in the data folder,
// one file for each container.
func (a *app) notesOf(address string) string {
	sum := sha256.Sum256([]byte(redacted(address)))
	return filepath.Join(a.data, ".looked-"+hex.EncodeToString(sum[:8]))
}

// withInput calls fn with what a bundle is made of.
func (a *app) withInput(f *bundleFlags, fn func(bundle.Input) error) (err error) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(steadyMemory))
	in := bundle.Input{Ledger: a.ledgerFolder(), NAT: a.natFolder(), Since: int64(f.since), Until: int64(f.until), AsKnownAt: int64(f.known)}
	if err := a.needData(); err != nil {
		return err
	}
	if in.Config, err = a.readConfig(); err != nil {
		return err
	}
	a.doubtNames(in.Config, a.readLedger().Clusters())
	if in.Claims, err = readClaims(f.claims); err != nil {
		return err
	}
	if f.raw != "" {
		if in.Raw, err = a.source(f.raw); err != nil {
			return err
		}
	}
	if f.authority != "" {
		if in.Stamper, err = stamp.NewAuthority(f.authority); err != nil {
			return err
		}
	}
	if in.Index, err = index.Open(a.data, index.Options{ReadOnly: true}); err != nil {
		return err
	}
	return errors.Join(fn(in), in.Index.Close())
}

func readClaims(paths []string) ([]claim.Claim, error) {
	var out []claim.Claim
	for _, path := range paths {
		list, err := claim.Read(path)
		if err != nil {
			return nil, err
		}
		out = append(out, list...)
	}
	return out, nil
}

// signer reads the private key from a file, else from the environment; or it is a key
// in a vault, where the URL of one is given.
func (a *app) signer(cmd *cobra.Command, path string) (bundle.Signer, error) {
	data := []byte(a.getenv(signingKey))
	for _, at := range []string{path, strings.TrimSpace(string(data))} {
		if isURL(at) {
			return keyvault.Open(cmd.Context(), at)
		}
		if at != "" {
			break
		}
	}
	if path != "" {
		var err error
		if data, err = os.ReadFile(path); err != nil {
			return nil, fmt.Errorf("read private key: %w", err)
		}
	}
	if len(data) == 0 {
		return nil, usage(cmd, "--key is missing: a private key in PEM, or the URL of one in Key Vault; or either itself in %s", signingKey)
	}
	key, err := bundle.ParsePrivateKey(data)
	if err != nil {
		return nil, hinted{err, `"openssl genpkey -algorithm ed25519 -out private.pem" makes one`}
	}
	return key, nil
}

func (a *app) publicKeyCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "public-key --key PRIVATE",
		Short: "Print the public key that checks what a key signs",
		Long: `Print the public key of a private key in PEM, for "verify --key": of a file, of
$` + signingKey + `, or of a key in Azure Key Vault, where it is the newest version of now.`,
		Args: args(0, 0, "none"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			key, err := a.signer(cmd, path)
			if err != nil {
				return err
			}
			text, err := key.PEM()
			if err != nil {
				return err
			}
			_, err = a.stdout.Write(text)
			return err
		},
	}
	cmd.Flags().StringVar(&path, "key", "", keyHelp)
	return cmd
}

// keyHelp describes a private key.
const keyHelp = "private key in PEM, Ed25519 or ECDSA, or https://VAULT.vault.azure.net/keys/NAME[/VERSION]; else $" + signingKey

func (a *app) printBundle(s *bundle.Summary) error {
	if a.output == "json" {
		return a.json(s)
	}
	fmt.Fprintf(a.stdout, "%s: %s, manifest %s%s\n", s.Name, count(s.Rows, "row"), s.Digest, stamped(s.Stamp))
	a.printAmendment(s)
	for i := range s.Claims {
		a.printClaim(&s.Claims[i])
	}
	for _, m := range s.Missing {
		fmt.Fprintf(a.stderr, "whichpod: warning: %s\n", m)
	}
	return nil
}

// stamped says when a manifest was there, and who says so; nothing where nobody does.
func stamped(s *stamp.Stamp) string {
	if s == nil {
		return ""
	}
	at := s.Time.Format(time.RFC3339)
	if s.Accuracy > 0 {
		at += " ± " + s.Accuracy.String()
	}
	if !s.Trusted {
		return fmt.Sprintf(", stamped %s by an authority that was not checked (%s)", at, oneLine(s.By))
	}
	return fmt.Sprintf(", stamped %s by %s", at, oneLine(s.By))
}

// printAmendment says of an amendment what it amends and why.
func (a *app) printAmendment(s *bundle.Summary) {
	if s.Amends != nil {
		fmt.Fprintf(a.stdout, "%s: takes the place of %s: %s\n", s.Name, s.Amends.Name, oneLine(strings.Join(s.Reasons, "; ")))
	}
}

func (a *app) verifyCommand() *cobra.Command {
	var keyPath, raw, authority string
	cmd := &cobra.Command{
		Use:   "verify BUNDLE --key PUBLIC.pem",
		Short: "Check a bundle of evidence, or a folder of them",
		Long: `Check a bundle of evidence, or a folder of them, with the public key alone: signatures,
digests, that the files agree with each other, and of a folder that no bundle is missing
between the first and the last. A bundle is a folder or a tar file; a blob container's
URL stands for all that are in it, or with a tar file's name for that one. With --raw every row is derived again from the flow
logs and the evidence in the bundle, and each difference is shown. With --tsa-cert each
bundle must have a time stamp by that authority.

Exit codes: 0 all is well, 1 something is wrong and was named, 2 it could not be checked.`,
		Args: args(1, 1, "a bundle, or a folder or container of bundles"),
		RunE: func(cmd *cobra.Command, words []string) error {
			if keyPath == "" {
				return usage(cmd, "--key is missing: the public key in PEM")
			}
			data, err := os.ReadFile(keyPath)
			if err != nil {
				return fmt.Errorf("read public key: %w", err)
			}
			key, err := bundle.ParsePublicKey(data)
			if err != nil {
				return hinted{err, `"openssl pkey -in private.pem -pubout" writes it`}
			}
			var opt bundle.Options
			if opt.Authorities, err = readAuthorities(authority); err != nil {
				return err
			}
			if raw != "" {
				if opt.Raw, err = a.source(raw); err != nil {
					return err
				}
			}
			return a.verify(cmd, words[0], key, opt)
		},
	}
	cmd.Flags().StringVar(&keyPath, "key", "", "public key in PEM, Ed25519 or ECDSA (required)")
	cmd.Flags().StringVar(&raw, "raw", "", "the flow logs: a folder, or a container's URL")
	cmd.Flags().StringVar(&authority, "tsa-cert", "", "certificate in PEM of the authority that stamped the time, or of its root: each bundle must have a stamp of it")
	return cmd
}

// readAuthorities reads the certificates of a file; none where no path is given.
func readAuthorities(path string) ([]*x509.Certificate, error) {
	if path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	list, err := stamp.ParseCertificates(data)
	if err != nil {
		return nil, hinted{err, `"openssl x509 -in FILE -out tsa.pem" writes it as PEM`}
	}
	return list, nil
}

func (a *app) verify(cmd *cobra.Command, at string, key *bundle.PublicKey, opt bundle.Options) error {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(steadyMemory))
	p := newProgress(a.stderr)
	opt.Progress = p.rows
	reports, err := a.reports(cmd.Context(), at, key, opt)
	p.done()
	if err != nil {
		return err
	}
	wrong := false
	for i := range reports {
		wrong = wrong || !reports[i].OK()
	}
	if a.output == "json" {
		err = a.json(struct {
			Bundles []bundle.Report `json:"bundles"`
			OK      bool            `json:"ok"`
		}{reports, !wrong})
	} else {
		for i := range reports {
			a.printReport(&reports[i])
		}
	}
	if err == nil && wrong {
		return exitCode(refuted)
	}
	return err
}

func (a *app) reports(ctx context.Context, address string, key *bundle.PublicKey, opt bundle.Options) ([]bundle.Report, error) {
	if !isURL(address) {
		return bundle.Verify(ctx, address, key, opt)
	}
	at, name := splitTar(address)
	store, err := azblob.NewStore(at, azblob.Hold{}, a.getenv)
	if err != nil {
		return nil, err
	}
	return bundle.VerifyContainer(ctx, &bundle.Container{Blobs: store}, name, key, opt)
}

// splitTar parts the URL of a tar file into that of what it is in, and its name. Any
// other URL has no name.
func splitTar(address string) (at, name string) {
	before, query, _ := strings.Cut(address, "?")
	dir, name := path.Split(before)
	if !strings.HasSuffix(name, ".tar") {
		return address, ""
	}
	if query != "" {
		dir += "?" + query
	}
	return dir, name
}

func (a *app) printReport(r *bundle.Report) {
	for _, p := range r.Problems {
		fmt.Fprintf(a.stdout, "%s: WRONG: %s\n", r.Name, oneLine(p))
	}
	for i := range r.Differences {
		fmt.Fprintf(a.stdout, "%s: %s\n", r.Name, r.Differences[i].String())
	}
	if more := r.Different - int64(len(r.Differences)); more > 0 {
		fmt.Fprintf(a.stdout, "%s: and %d more\n", r.Name, more)
	}
	if !r.OK() {
		return
	}
	how := "signed, whole"
	if r.Derived {
		how += ", every row derived again"
	}
	fmt.Fprintf(a.stdout, "%s: OK: %s, %s, manifest %s%s\n", r.Name, count(r.Rows, "row"), how, r.Digest, stamped(r.Stamp))
	a.printAmendment(&r.Summary)
	if r.AmendedBy != "" {
		fmt.Fprintf(a.stdout, "%s: amended by %s\n", r.Name, r.AmendedBy)
	}
	for _, m := range r.Missing {
		fmt.Fprintf(a.stdout, "%s: missing, as it says itself: %s\n", r.Name, oneLine(m))
	}
}
