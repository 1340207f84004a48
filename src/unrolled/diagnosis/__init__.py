"""How gradients flow through the recurrent layers of a model, and what that means for training.

    flow         gradients per step, reach of the loss, derivatives, recurrent weights
    jacobians    norms of products of Jacobians
    updates      how much an update changes the weights, and whether it reduces the loss
    verdict      the diagnosis in words, with its evidence and the settings to change

It deals with modules and losses, and knows nothing of data, runs or training loops.
"""
