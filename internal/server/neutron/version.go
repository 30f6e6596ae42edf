package neutron

import "net/http"

// rootDocument is the list of versions, for everybody: clients discover the
// API with it before they have a token.
func (a *API) rootDocument(c *call) error {
	if c.req.Method != http.MethodGet && c.req.Method != http.MethodHead {
		return notAllowed{"GET, HEAD"}
	}
	c.begin("versions")
	c.body = append(c.body, `[{"id":"v2.0","status":"CURRENT","links":[{"rel":"self","href":`...)
	c.body = appendString(c.body, c.base()+"/v2.0/")
	c.body = append(c.body, `}]}]`...)
	c.end(http.StatusOK)
	return nil
}

// coreResources are those that the document of the version lists; all others
// are extensions.
var coreResources = []struct{ name, collection string }{
	{"network", "networks"}, {"subnet", "subnets"}, {"subnetpool", "subnetpools"}, {"port", "ports"},
}

// v2Document lists the core resources of the version that are served.
func (a *API) v2Document(c *call) error {
	if c.req.Method != http.MethodGet && c.req.Method != http.MethodHead {
		return notAllowed{"GET, HEAD"}
	}
	c.begin("resources")
	c.body = append(c.body, '[')
	sep := false
	for _, r := range coreResources {
		if a.routes[r.collection] == nil {
			continue
		}
		if sep {
			c.body = append(c.body, ',')
		}
		sep = true
		c.body = append(c.body, `{"name":`...)
		c.body = appendString(c.body, r.name)
		c.body = append(c.body, `,"collection":`...)
		c.body = appendString(c.body, r.collection)
		c.body = append(c.body, `,"links":[{"rel":"self","href":`...)
		c.body = appendString(c.body, c.base()+"/v2.0/"+r.collection)
		c.body = append(c.body, `}]}`...)
	}
	c.body = append(c.body, ']')
	c.end(http.StatusOK)
	return nil
}
