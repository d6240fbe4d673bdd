package inbound

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// decode reads a body that is JSON.
func decode(body []byte, into any) error {
	if err := json.Unmarshal(body, into); err != nil {
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return fmt.Errorf("body: %s cannot be a %s", wrong.Field, wrong.Value)
		}
		return errors.New("body: it is not JSON")
	}
	return nil
}

// seconds are a time that is counted since 1970; 0 is unknown.
type seconds float64

func (s seconds) time() time.Time {
	if s <= 0 || s > 253402300799 { // which the year 10000 is
		return time.Time{}
	}
	return time.UnixMilli(int64(s * 1000)).UTC()
}
