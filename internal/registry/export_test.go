package registry

// On has requests go through another storage driver.
func (o Options) On(driver string) Options {
	o.driver = driver
	return o
}

// ForgetViews is for tests that change files behind the registry's back.
func (r *Registry) ForgetViews() {
	r.views.mu.Lock()
	defer r.views.mu.Unlock()
	r.views.known = nil
}
