"""Checkpoints in the file format of the LLaVA package and its forks, loaded without that
package.
"""
