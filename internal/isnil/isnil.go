// Package isnil sees a nil that an interface hides.
package isnil

import "reflect"

// Value tells whether v is nil, or an interface around a nil pointer, func, map, slice or channel: a configuration with such a
// value would pass a comparison with nil, and panic when it is used.
func Value(v any) bool {
	if v == nil {
		return true
	}
	r := reflect.ValueOf(v)
	switch r.Kind() {
	case reflect.Pointer, reflect.Func, reflect.Map, reflect.Slice, reflect.Interface, reflect.Chan:
		return r.IsNil()
	}
	return false
}
