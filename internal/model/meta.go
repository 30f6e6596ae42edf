package model

import "time"

// Meta is what every API object has: Neutron's standard attributes.
type Meta struct {
	ProjectID   string    `json:"project_id"`
	Name        string    `json:"name,omitempty"`
	Description string    `json:"description,omitempty"`
	Tags        []string  `json:"tags,omitempty"` // sorted, unique
	CreatedAt   time.Time `json:"created_at"`     // UTC, whole seconds
	UpdatedAt   time.Time `json:"updated_at"`
	// Revision starts at 0 when the object is made and grows by one with each
	// change of it (Neutron API reference, "revision_number").
	Revision int64 `json:"revision"`
}
