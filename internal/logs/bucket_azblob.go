//go:build azblob

package logs

import _ "gocloud.dev/blob/azureblob" // registers its scheme with OpenBucket
