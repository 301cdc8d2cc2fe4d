"""The flow: recipe -> data, build -> run -> train, evaluate, restore -> report."""
