// Package steps is the acr-task language: what a task file says, in which
// order its steps run, and what one step does.
package steps
