package passhash_test

import (
	"fmt"

	"github.com/stmigrate/stmigrate/login/sqlusers/passhash"
)

func ExampleVerify() {
	ok, err := passhash.Verify("$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U")
	fmt.Println(ok, err)
	_, err = passhash.Verify("$2a$31$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U")
	fmt.Println(err)
	// Output:
	// true <nil>
	// password hash over the cost limit: bcrypt: a cost of 31, Config.MaxBcryptCost is 14
}
