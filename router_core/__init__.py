"""The contract between the gateway and the trainers: artefact formats and pure functions over them."""
