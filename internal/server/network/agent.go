package network

import (
	"reflect"

	"weft/internal/fault"
	"weft/internal/model"
	"weft/internal/server/authn"
	"weft/internal/server/policy"
	"weft/internal/server/store"
)

// UpdateAgent changes what an operator decides about a host. With
// AdminStateUp false no new ports are bound there; those that are stay, and routers go to other hosts. As long as the
// host that it returns has RoutersDue there are more of them than one transaction may change: it is to be called again,
// with an empty spec.
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
	if !reflect.DeepEqual(old, h) {
		tx.PutHost(h)
	}
	r.followHost(tx, env, old, h.Name)
	return tx.Host(h.Name), nil
}

// DeleteAgent forgets a host whose agent is gone. The caller knows whether its session
// is alive; a live agent would come back at once. A host that served more routers than one transaction may change is first
// switched off, and has RoutersDue: then it is to be called again.
func (r *Rules) DeleteAgent(tx *store.Tx, env Env, who authn.Principal, id model.AgentID, alive bool) error {
	old, err := r.Agent(tx, who, id)
	if err != nil {
		return err
	}
	if err := ask(who, "delete_agent", policy.Target{}).err(); err != nil {
		return err
	}
	if alive {
		return fault.New(fault.Conflict, "AgentInUse", "Agent %s is alive. Stop it before it is deleted.", id)
	}
	h := old.Clone()
	h.AdminStateUp, h.RoutersDue = false, true
	tx.PutHost(h)
	if !r.placeRouters(tx, env, h.Name, rebound) && !dropHandOvers(tx, h.Name, rebound) {
		tx.DeleteHost(h.Name)
	}
	return nil
}
