//go:build s3

package logs

import _ "gocloud.dev/blob/s3blob" // registers its scheme with OpenBucket
