// Package secrets finds the values of secrets, and keeps some of them.
//
// A [Key] seals what rests on this machine. Nothing here puts a value into an
// error or a log.
package secrets
