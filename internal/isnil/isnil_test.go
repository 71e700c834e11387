package isnil

import (
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestValue(t *testing.T) {
	var (
		hidden   error
		typed    *io.PipeReader
		function func()
		list     []int
		table    map[string]int
		channel  chan int
	)
	hidden = (*failure)(nil)
	for name, v := range map[string]any{
		"nil": nil, "interface": hidden, "pointer": typed, "func": function, "slice": list, "map": table, "channel": channel,
	} {
		assert.True(t, Value(v), name)
	}
	for name, v := range map[string]any{
		"error": errors.New(""), "zero": 0, "text": "", "struct": struct{}{}, "empty slice": []int{}, "func": func() {},
	} {
		assert.False(t, Value(v), name)
	}
}

type failure struct{}

func (*failure) Error() string { return "" }
