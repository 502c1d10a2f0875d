//! Tests over the whole system: architecture, conformance, simulation, processes.
