package registry

// On has requests go through another storage driver.
func (o Options) On(driver string) Options {
	o.driver = driver
	return o
}
