module github.com/stmigrate/stmigrate/supertokensgo

go 1.25.0

require (
	github.com/golang-jwt/jwt/v5 v5.3.1
	github.com/stmigrate/stmigrate v0.0.0
	github.com/stretchr/testify v1.12.1
	github.com/supertokens/supertokens-golang v0.25.2
)

require (
	github.com/MicahParks/jwkset v0.11.3 // indirect
	github.com/MicahParks/keyfunc/v2 v2.1.0 // indirect
	github.com/MicahParks/keyfunc/v3 v3.9.0 // indirect
	github.com/derekstavis/go-qs v0.0.0-20180720192143-9eef69e6c4e7 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/h2non/parth v0.0.0-20190131123155-b4df798d6542 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/crypto v0.55.0 // indirect
	golang.org/x/net v0.58.0 // indirect
	golang.org/x/time v0.15.0 // indirect
	gopkg.in/alexcesaro/quotedprintable.v3 v3.0.0-20150716171945-2caba252f4dc // indirect
	gopkg.in/gomail.v2 v2.0.0-20160411212932-81ebce5c23df // indirect
	gopkg.in/h2non/gock.v1 v1.1.2 // indirect
)

replace github.com/stmigrate/stmigrate => ../
