package sqlusers

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/core"
	"github.com/stmigrate/stmigrate/login/sqlusers/passhash"
)

// ErrBadRow says that the database has a row for the user, and it cannot be used: a column is missing, unknown or of another type, the
// password hash is broken or dearer than allowed, or there is a second row.
var ErrBadRow = errors.New("unusable row of a legacy user")

const (
	defaultTimeout = 5 * time.Second
	maxID          = 128
)

// Config configures a [Store]. DB, ByEmail, ByID and DummyHash are required.
type Config struct {
	// DB is the legacy database.
	DB *sql.DB
	// ByEmail selects the user with an e-mail, which is its one parameter, as the driver writes it ($1, ?, @p1, :1).
	ByEmail string
	// PassTenant gives ByEmail the tenant as a second parameter; ByID must then select tenant_id. Default: e-mails are unique
	// across tenants.
	PassTenant bool
	// ByID selects the user with an ID, which is its one parameter.
	ByID string
	// IDParam makes ByID's parameter of an ID. ok is false for what cannot be one: nobody has it. Default: the text itself; [IntID]
	// is for integers, [UUID] for UUIDs. A database refuses parameters that are of another type than their column.
	IDParam func(id string) (param any, ok bool)
	// CountNotImported selects one number: how many users are not in SuperTokens yet. Default: CountUsersNotImported is
	// [stmigrate.ErrUnsupported].
	CountNotImported string

	// Tenant is the SuperTokens tenant of users whose rows have no tenant_id; with PassTenant, what ByEmail selects is of the tenant
	// that was asked for. Users of other tenants are unknown. Default "public".
	Tenant string

	// DummyHash is a password hash of the kind and cost that users have. It is checked where there is no user or no hash.
	DummyHash string
	// Hashes says which password hashes are known, and what they may cost. Its zero value is complete.
	Hashes passhash.Config
	// Timeout is what one query may take. Default 5 s.
	Timeout time.Duration
}

// Store is a legacy user store in a database. It is safe for concurrent use.
type Store struct {
	cfg    Config
	hashes *passhash.Verifier
}

var _ interface {
	stmigrate.LegacyUserStore
	stmigrate.LegacyDirectory
	stmigrate.LegacyCounter
} = (*Store)(nil)

// New checks cfg, but asks the database nothing: see [Store.Check]. Its error names the field that is missing or wrong.
func New(cfg Config) (*Store, error) {
	switch {
	case cfg.DB == nil:
		return nil, errors.New("sqlusers: Config.DB is required")
	case cfg.ByEmail == "":
		return nil, errors.New("sqlusers: Config.ByEmail is required")
	case cfg.ByID == "":
		return nil, errors.New("sqlusers: Config.ByID is required")
	case cfg.DummyHash == "":
		return nil, errors.New("sqlusers: Config.DummyHash is required: " +
			"the hash of a made-up password, made as the application makes them all")
	case cfg.Timeout < 0:
		return nil, fmt.Errorf("sqlusers: Config.Timeout is negative: %v", cfg.Timeout)
	}
	cfg.Tenant = cmp.Or(cfg.Tenant, "public")
	if err := core.ValidTenantID(cfg.Tenant); err != nil {
		return nil, fmt.Errorf("sqlusers: Config.Tenant: %w", err)
	}
	hashes, err := passhash.New(cfg.Hashes)
	if err != nil {
		return nil, fmt.Errorf("sqlusers: Config.Hashes: %w", err)
	}
	if err := hashes.Check(cfg.DummyHash); err != nil {
		return nil, fmt.Errorf("sqlusers: Config.DummyHash: %w", err)
	}
	cfg.Timeout = cmp.Or(cfg.Timeout, defaultTimeout)
	if cfg.IDParam == nil {
		cfg.IDParam = func(id string) (any, bool) { return id, true }
	}
	return &Store{cfg, hashes}, nil
}

// IntID is a [Config.IDParam] for integers, written without sign or leading zeros.
func IntID(id string) (any, bool) {
	n, err := strconv.ParseInt(id, 10, 64)
	return n, err == nil && n >= 0 && strconv.FormatInt(n, 10) == id
}

// UUID is a [Config.IDParam] for UUIDs, in lower case and with hyphens (RFC 9562 §4).
func UUID(id string) (any, bool) {
	if len(id) != 36 {
		return nil, false
	}
	for i, c := range []byte(id) {
		hyphen := i == 8 || i == 13 || i == 18 || i == 23
		if hyphen != (c == '-') || !hyphen && !strings.ContainsRune("0123456789abcdef", rune(c)) {
			return nil, false
		}
	}
	return id, true
}

// Check runs the queries, for a user that nobody is, and returns what is wrong with them or with their columns. It belongs where the
// program starts, or in a test.
func (s *Store) Check(ctx context.Context) error {
	const nobody = "sqlusers-check@stmigrate.invalid"
	if _, err := s.byEmail(ctx, s.cfg.Tenant, nobody); err != nil && !errors.Is(err, stmigrate.ErrUnknownUser) {
		return fmt.Errorf("sqlusers: Config.ByEmail: %w", err)
	}
	for _, id := range []string{"0", "00000000-0000-0000-0000-000000000000", "nobody"} {
		if _, ok := s.cfg.IDParam(id); !ok {
			continue
		}
		if _, err := s.byID(ctx, id); err != nil && !errors.Is(err, stmigrate.ErrUnknownUser) {
			return fmt.Errorf("sqlusers: Config.ByID: %w", err)
		}
		break
	}
	if s.cfg.CountNotImported != "" {
		if _, err := s.CountUsersNotImported(ctx); err != nil {
			return fmt.Errorf("sqlusers: Config.CountNotImported: %w", err)
		}
	}
	return nil
}

// Authenticate implements [stmigrate.LegacyUserStore].
func (s *Store) Authenticate(ctx context.Context, tenantID, email, password string) (*stmigrate.LegacyUser, error) {
	if core.ValidPassword(password) != nil {
		return nil, stmigrate.ErrWrongCredentials
	}
	if err := ctx.Err(); err != nil {
		return nil, unavailable(err)
	}
	r, err := s.byEmail(ctx, tenantID, email)
	if err != nil && !errors.Is(err, stmigrate.ErrUnknownUser) {
		return nil, err
	}
	hash, known := s.cfg.DummyHash, false
	if err == nil && r.hash != "" && !strings.ContainsRune("!*", rune(r.hash[0])) {
		hash, known = r.hash, true
	}
	ok, err := s.hashes.Verify(ctx, hash, password)
	switch {
	case errors.Is(err, passhash.ErrFormat), errors.Is(err, passhash.ErrLimit):
		return nil, fmt.Errorf("%w: password_hash: %w", ErrBadRow, err)
	case err != nil:
		return nil, unavailable(err)
	case !ok || !known:
		return nil, stmigrate.ErrWrongCredentials
	}
	return r.legacyUser()
}

// UserByEmail implements [stmigrate.LegacyDirectory].
func (s *Store) UserByEmail(ctx context.Context, tenantID, email string) (*stmigrate.LegacyUser, error) {
	r, err := s.byEmail(ctx, tenantID, email)
	if err != nil {
		return nil, err
	}
	return r.legacyUser()
}

// UserByID implements [stmigrate.LegacyDirectory].
func (s *Store) UserByID(ctx context.Context, id string) (*stmigrate.LegacyUser, error) {
	r, err := s.byID(ctx, id)
	if err != nil {
		return nil, err
	}
	return r.legacyUser()
}

// CountUsersNotImported implements [stmigrate.LegacyCounter].
func (s *Store) CountUsersNotImported(ctx context.Context) (int, error) {
	if s.cfg.CountNotImported == "" {
		return 0, fmt.Errorf("%w: sqlusers: Config.CountNotImported is not set", stmigrate.ErrUnsupported)
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	var n int
	if err := s.cfg.DB.QueryRowContext(ctx, s.cfg.CountNotImported).Scan(&n); err != nil {
		return 0, unavailable(err)
	}
	if n < 0 {
		return 0, fmt.Errorf("%w: CountNotImported selects %d", stmigrate.ErrUnavailable, n)
	}
	return n, nil
}

func (s *Store) byEmail(ctx context.Context, tenantID, email string) (*row, error) {
	tenantID = cmp.Or(tenantID, "public")
	email, err := core.NormalizeEmail(email)
	if err != nil {
		return nil, stmigrate.ErrUnknownUser
	}
	params, tenant := []any{email}, s.cfg.Tenant
	if s.cfg.PassTenant {
		params, tenant = append(params, tenantID), tenantID
	}
	r, err := s.query(ctx, s.cfg.ByEmail, []string{"password_hash"}, params...)
	if err != nil {
		return nil, err
	}
	if found, err := core.NormalizeEmail(r.user.Email); err != nil || found != email {
		return nil, stmigrate.ErrUnknownUser
	}
	r.user.TenantID = cmp.Or(r.user.TenantID, tenant)
	if r.user.TenantID != tenantID {
		return nil, stmigrate.ErrUnknownUser
	}
	return r, nil
}

func (s *Store) byID(ctx context.Context, id string) (*row, error) {
	if id == "" || len(id) > maxID || !utf8.ValidString(id) || strings.ContainsFunc(id, unicode.IsControl) {
		return nil, stmigrate.ErrUnknownUser
	}
	param, ok := s.cfg.IDParam(id)
	if !ok {
		return nil, stmigrate.ErrUnknownUser
	}
	var required []string
	if s.cfg.PassTenant {
		required = []string{"tenant_id"}
	}
	r, err := s.query(ctx, s.cfg.ByID, required, param)
	if err != nil {
		return nil, err
	}
	if r.user.ID != id {
		return nil, stmigrate.ErrUnknownUser
	}
	r.user.TenantID = cmp.Or(r.user.TenantID, s.cfg.Tenant)
	return r, nil
}

// query returns the one row that a query selects, or ErrUnknownUser.
func (s *Store) query(ctx context.Context, query string, required []string, params ...any) (*row, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	rows, err := s.cfg.DB.QueryContext(ctx, query, params...)
	if err != nil {
		return nil, unavailable(err)
	}
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	if err != nil {
		return nil, unavailable(err)
	}
	if err := checkColumns(columns, required...); err != nil {
		return nil, err
	}
	var values []any
	for rows.Next() {
		if values != nil {
			return nil, fmt.Errorf("%w: a second row for one user", ErrBadRow)
		}
		values = make([]any, len(columns))
		targets := make([]any, len(columns))
		for i := range values {
			targets[i] = &values[i]
		}
		if err := rows.Scan(targets...); err != nil {
			return nil, unavailable(err)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, unavailable(err)
	}
	if values == nil {
		return nil, stmigrate.ErrUnknownUser
	}
	return newRow(columns, values)
}

func unavailable(err error) error {
	return fmt.Errorf("%w: legacy database: %w", stmigrate.ErrUnavailable, err)
}
