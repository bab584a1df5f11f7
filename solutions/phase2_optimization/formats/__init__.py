"""Every compiled form of a network behind one interface, and what each costs and gives."""
