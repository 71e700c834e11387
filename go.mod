module github.com/stmigrate/stmigrate

go 1.25.0
