package network

import (
	"math"
	"reflect"

	"weft/internal/fault"
	"weft/internal/model"
	"weft/internal/server/authn"
	"weft/internal/server/policy"
	"weft/internal/server/store"
)

// UpdateAgent changes what an operator decides about a host. With
// AdminStateUp false no new ports are bound there; those that are stay, and routers go to other hosts.
func (r *Rules) UpdateAgent(tx *store.Tx, env Env, who authn.Principal, id model.AgentID, spec AgentSpec) (*model.Host, error) {
	old, err := r.Agent(tx, who, id)
	if err != nil {
		return nil, err
	}
	if err := ask(who, "update_agent", policy.Target{}).err(); err != nil {
		return nil, err
	}
	if err := checkText("description", spec.Description); err != nil {
		return nil, err
	}
	h := old.Clone()
	set(&h.AdminStateUp, spec.AdminStateUp)
	set(&h.Description, spec.Description)
	if reflect.DeepEqual(old, h) {
		return old, nil
	}
	tx.PutHost(h)
	if !sameGateway(old, h) {
		r.placeRouters(tx, env, h.Name, math.MaxInt)
	}
	return h, nil
}

// DeleteAgent forgets a host whose agent is gone. The caller knows whether its session
// is alive; a live agent would come back at once.
func (r *Rules) DeleteAgent(tx *store.Tx, env Env, who authn.Principal, id model.AgentID, alive bool) error {
	h, err := r.Agent(tx, who, id)
	if err != nil {
		return err
	}
	if err := ask(who, "delete_agent", policy.Target{}).err(); err != nil {
		return err
	}
	if alive {
		return fault.New(fault.Conflict, "AgentInUse", "Agent %s is alive. Stop it before it is deleted.", id)
	}
	tx.DeleteHost(h.Name)
	r.placeRouters(tx, env, h.Name, math.MaxInt)
	return nil
}
