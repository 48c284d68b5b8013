"""Reading emotion from one modality, and putting modalities together."""
