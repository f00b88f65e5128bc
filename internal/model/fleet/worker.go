package fleet

// Worker is a daemon that runs may use.
type Worker struct {
	// Address is that of a BuildKit daemon, as its clients take it: unix://PATH,
	// tcp://HOST:PORT, or that of a connection helper. Empty means the embedded
	// daemon.
	Address string `json:"address"`
	// Name is unique among the workers of a fleet, and names it in journals;
	// empty means that the program chooses one.
	Name string `json:"name,omitempty"`
	// CA, Cert and Key are absolute paths of PEM files for a tcp:// address with
	// TLS: whom to trust, and who we are.
	CA   string `json:"ca,omitempty"`
	Cert string `json:"cert,omitempty"`
	Key  string `json:"key,omitempty"`
	// Disk is what this daemon may use instead of the fleet's.
	Disk Disk `json:"disk,omitzero"`
}
