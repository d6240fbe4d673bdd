//go:build gcs

package logs

import _ "gocloud.dev/blob/gcsblob" // registers its scheme with OpenBucket
