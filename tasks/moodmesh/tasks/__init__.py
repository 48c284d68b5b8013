"""What can be computed: emotion, music, images, recommendation; one folder a family."""
